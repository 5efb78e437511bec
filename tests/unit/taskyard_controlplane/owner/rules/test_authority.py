"""Who is believed about a run: whoever has it in hand, whoever owns it, and nobody else."""

from typing import Final

import pytest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.errors import PermissionDenied, RunNotFound
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.rules.authority import may_end, may_log, may_report, owns, refusal_into

GENERATION: Final = 3
EARLIER: Final = 2 << 32 | 7
NOW: Final = GENERATION << 32 | 7


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
    assert may_report(one, held_by(one), NOW, GENERATION)
    assert not may_report(other, held_by(one), NOW, GENERATION)
    assert not may_report(other, held_by(one), NOW + 1, GENERATION), "nor under an epoch that is guessed"
    assert not may_report(one, held_by(one), NOW - 1, GENERATION), "nor about an attempt before"


def test_what_an_earlier_owner_had_assigned_is_reported_by_the_agent_it_has_recorded() -> None:
    lost = run(epoch=EARLIER)
    lost.last_agent_id = "a"
    assert may_report(agent("a"), lost, EARLIER, GENERATION)
    assert not may_report(agent("b"), lost, EARLIER, GENERATION)


@pytest.mark.parametrize("restated", [False, True])
def test_of_what_was_not_recorded_any_agent_is_believed_that_could_have_it(restated: bool) -> None:
    lost = held_by(agent("a"), EARLIER) if restated else run(RunState.READY, epoch=EARLIER)
    assert may_report(agent("b"), lost, EARLIER + 1, GENERATION)
    assert not may_report(agent("b", queue="other"), lost, EARLIER + 1, GENERATION)
    assert not may_report(agent("b"), lost, NOW, GENERATION), "this owner knows what it has assigned"


def test_log_records_are_taken_from_whoever_has_the_run_or_may_have_it() -> None:
    one, other = agent("a"), agent("b")
    assert may_log(one, held_by(one), GENERATION)
    assert not may_log(other, held_by(one), GENERATION)
    lost = run(epoch=EARLIER)
    lost.last_agent_id = "a"
    assert (may_log(one, lost, GENERATION), may_log(other, lost, GENERATION)) == (True, False)
    lost.last_agent_id = None
    assert may_log(other, lost, GENERATION)
    assert not may_log(agent("c", queue="other"), lost, GENERATION)
    waiting = run(RunState.READY, epoch=NOW)
    assert not may_log(one, waiting, GENERATION), "it was given back or lost"


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


def test_a_flow_run_takes_runs_of_its_session_and_of_sessions_inside_its_task_runs() -> None:
    one, other = session(b"1"), session(b"2")
    flow = run(of=one, kind=RunKind.FLOW)
    assert refusal_into(one, flow.run_id, flow, None) is None
    assert isinstance(refusal_into(other, flow.run_id, flow, None), PermissionDenied)
    assert refusal_into(other, flow.run_id, flow, run(of=one, flow=flow)) is None
    elsewhere = run(of=one, flow=run(of=one, kind=RunKind.FLOW))
    assert isinstance(refusal_into(other, flow.run_id, flow, elsewhere), PermissionDenied)
    assert isinstance(refusal_into(one, b"g" * 16, None, None), RunNotFound)
