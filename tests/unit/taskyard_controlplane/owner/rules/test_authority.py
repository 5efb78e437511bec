"""Who is believed about a run: whoever has it in hand, whoever owns it, and nobody else."""

from typing import Final

import pytest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.errors import InvalidRequest, PermissionDenied, RunNotFound
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import AgentIdentity, Run, Template
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.rules.authority import (
    Place,
    may_end,
    may_end_queued,
    may_log,
    may_report,
    owns,
    refusal_into,
)

OWNER: Final = Succession(generation=3, first_seq=1)
OWNER.take_over()
SETTLED: Final = Succession(generation=3, first_seq=1)
EARLIER: Final = 2 << 32 | 7
NOW: Final = 3 << 32 | 7


def agent(name: str = "a", queue: str = "default") -> AgentSession:
    return AgentSession(ap.AgentHello(agent_id=name, session_id=name.encode() * 16, queues=[queue]), 0.0, 0)


def session(name: bytes = b"s") -> ClientSession:
    return ClientSession(name * 16, "test", b"", 0.0)


def run(
    state: int = RunState.RUNNING,
    epoch: int = NOW,
    of: ClientSession | None = None,
    flow: Run | None = None,
    kind: int = RunKind.TASK,
) -> Run:
    made = Run(1, b"r" * 16, Template(1, b"", b"", kind=kind, name="t"), state, flow, of, None, 0, 0)
    made.epoch = epoch
    return made


def held_by(one: AgentSession, epoch: int = NOW) -> Run:
    made = run(epoch=epoch)
    made.agent = one
    return made


def test_whoever_has_a_run_in_hand_reports_about_it_and_nobody_else() -> None:
    one, other = agent("a"), agent("b")
    assert may_report(one, held_by(one), NOW, OWNER)
    assert not may_report(other, held_by(one), NOW, OWNER)
    assert not may_report(other, held_by(one), NOW + 1, OWNER), "nor under an epoch that is guessed"
    assert not may_report(one, held_by(one), NOW - 1, OWNER), "nor about an attempt before"


def test_what_an_earlier_owner_had_assigned_is_reported_by_the_agent_it_has_recorded() -> None:
    lost = run(epoch=EARLIER)
    lost.last_agent = AgentIdentity("a")
    assert may_report(agent("a"), lost, EARLIER, OWNER)
    assert not may_report(agent("b"), lost, EARLIER, OWNER)


@pytest.mark.parametrize("restated", [False, True])
def test_of_what_was_not_recorded_any_agent_is_believed_that_could_have_it(restated: bool) -> None:
    lost = held_by(agent("a"), EARLIER) if restated else run(RunState.READY, epoch=EARLIER)
    assert may_report(agent("b"), lost, EARLIER + 1, OWNER)
    assert not may_report(agent("b", queue="other"), lost, EARLIER + 1, OWNER)
    assert not may_report(agent("b"), lost, NOW, OWNER), "this owner knows what it has assigned"


@pytest.mark.parametrize("restated", [False, True])
def test_whoever_has_not_restated_within_a_lease_is_believed_no_more(restated: bool) -> None:
    lost = held_by(agent("a"), EARLIER) if restated else run(RunState.READY, epoch=EARLIER)
    assert not may_report(agent("b"), lost, EARLIER + 1, SETTLED)
    assert not may_log(agent("b"), lost, SETTLED)


def test_nobody_is_believed_about_a_run_that_this_owner_has_made() -> None:
    made = run(RunState.READY, epoch=OWNER.epoch_of(OWNER.first_seq))
    for epoch in (1, EARLIER, OWNER.first_epoch - 1, OWNER.first_epoch, NOW):
        assert not may_report(agent("a"), made, epoch, OWNER)
    assert not may_log(agent("a"), made, OWNER)


def test_nobody_is_believed_about_a_run_with_a_key_unless_that_is_recorded() -> None:
    keyed = run(RunState.READY, epoch=0)
    keyed.cache_key = "k"
    assert not may_report(agent("a"), keyed, EARLIER, OWNER)
    assert not may_log(agent("a"), keyed, OWNER)
    recorded = run(epoch=EARLIER)
    recorded.cache_key, recorded.last_agent = "k", AgentIdentity("a")
    assert may_report(agent("a"), recorded, EARLIER, OWNER)
    assert not may_report(agent("a"), recorded, EARLIER + 1, OWNER)


def test_a_run_whose_agent_is_not_known_is_reported_only_by_one_that_may_have_it() -> None:
    lost = run(epoch=EARLIER)
    assert may_report(agent("a"), lost, EARLIER, SETTLED)
    assert not may_report(agent("a", queue="other"), lost, EARLIER, SETTLED)


def test_log_records_are_taken_from_whoever_has_the_run_or_may_have_it() -> None:
    one, other = agent("a"), agent("b")
    assert may_log(one, held_by(one), OWNER)
    assert not may_log(other, held_by(one), OWNER)
    lost = run(epoch=EARLIER)
    lost.last_agent = AgentIdentity("a")
    assert (may_log(one, lost, OWNER), may_log(other, lost, OWNER)) == (True, False)
    lost.last_agent = None
    assert may_log(other, lost, OWNER)
    assert not may_log(agent("c", queue="other"), lost, OWNER)
    waiting = run(RunState.READY, epoch=NOW)
    assert not may_log(one, waiting, OWNER), "it was given back or lost"


def test_a_run_belongs_to_the_session_that_submitted_it() -> None:
    one, other = session(b"1"), session(b"2")
    mine = run(of=one)
    assert (owns(one, mine), owns(other, mine)) == (True, False)
    assert owns(session(b"1"), mine), "sessions are known by their ids"
    watched = run()
    watched.session = one
    assert not owns(one, watched), "who hears of a run does not own it"


def test_a_run_is_ended_by_its_session_or_that_of_its_flow_run_or_by_anybody_if_it_is_nobodys() -> None:
    one, other = session(b"1"), session(b"2")
    flow = run(of=one, kind=RunKind.FLOW)
    assert may_end(other, run())
    assert not may_end(other, run(of=one))
    assert may_end(one, run(of=other, flow=flow))
    assert not may_end(session(b"3"), run(of=other, flow=flow))


@pytest.mark.parametrize("of", [None, b"1", b"2"])
@pytest.mark.parametrize("flow_of", [None, b"1", b"2"])
def test_a_run_of_which_there_is_only_a_row_is_ended_by_the_same(
    of: bytes | None, flow_of: bytes | None
) -> None:
    flow = run(of=session(flow_of), kind=RunKind.FLOW) if flow_of else None
    record = run(of=session(of) if of else None, flow=flow)
    for one in (session(b"1"), session(b"2"), session(b"3")):
        assert may_end_queued(one, of * 16 if of else None, flow) is may_end(one, record)


def test_a_flow_run_takes_runs_of_its_session_and_of_sessions_inside_its_task_runs() -> None:
    one, other = session(b"1"), session(b"2")
    flow = run(of=one, kind=RunKind.FLOW)
    assert refusal_into(one, flow.run_id, flow, None) is None
    assert isinstance(refusal_into(other, flow.run_id, flow, None), PermissionDenied)
    assert refusal_into(other, flow.run_id, flow, Place(flow.seq)) is None
    for elsewhere in (Place(flow.seq + 1), Place(0), Place(flow.seq, long_ended=True)):
        assert isinstance(refusal_into(other, flow.run_id, flow, elsewhere), PermissionDenied)
    assert refusal_into(one, flow.run_id, flow, Place(flow.seq, long_ended=True)) is None
    assert isinstance(refusal_into(one, b"g" * 16, None, None), RunNotFound)


def test_nothing_is_added_to_a_task_run_whoever_asks_for_it() -> None:
    one = session(b"1")
    made = run(of=one)
    assert isinstance(refusal_into(one, made.run_id, made, None), InvalidRequest)
    assert isinstance(refusal_into(session(b"2"), made.run_id, made, Place(made.seq)), InvalidRequest)
