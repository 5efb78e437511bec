"""The journal: whatever is said to it is in the open commit, and that commit will be written."""

from collections.abc import Callable
from typing import Any

import pytest

from taskyard_api.v1 import agent_service_pb2, session_service_pb2
from taskyard_api.v1.common_pb2 import BlobRef
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.journal import HIGHEST_LEVEL, Journal
from taskyard_controlplane.owner.journal.rows import cache_row
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.owner.logs.numbers import LogNumbers
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession

TEMPLATE = Template(1, b"d", b"", name="task")
SESSION = ClientSession(b"s" * 16, "client", b"", 0.0)
AGENT = AgentSession(agent_service_pb2.AgentHello(agent_id="a", session_id=b"s", queues=["q"]), 0.0, 0)


def run(of: Template = TEMPLATE, flow: Run | None = None) -> Run:
    it = Run(7, b"r" * 16, of, RunState.READY, flow, None, b"args", 0, 5)
    it.cache_key = "k"
    return it


class AtFive:
    """A clock."""

    def now_us(self) -> int:
        return 5

    def monotonic(self) -> float:
        return 0.0


class Scheduled:
    """What a journal needs of a committer."""

    def __init__(self) -> None:
        self.open = Commit(1)
        self.full = None
        self.touched = self.riding = self.recorded_seq = 0

    def undurable(self) -> list[Commit]:
        return [self.open]

    def touch(self) -> None:
        self.touched += 1

    def take_along(self) -> None:
        self.riding += 1


VERBS: dict[str, tuple[Callable[[Journal], object], str]] = {
    "template": (lambda it: it.template(TEMPLATE), "rows.templates"),
    "blob": (lambda it: it.blob(b"d", b"data"), "rows.blobs"),
    "queued": (lambda it: it.queued(run()), "rows.new_runs"),
    "submitted": (lambda it: it.submitted(run()), "submitted"),
    "resumed": (lambda it: it.resumed(run()), "submitted"),
    "backlogged": (lambda it: it.backlogged("lane", 0, [7]), "rows.backlog_added"),
    "taken_from_backlog": (lambda it: it.taken_from_backlog("lane", 0, 7), "rows.backlog_removed"),
    "key_known": (lambda it: it.key_known(run()), "rows.keys"),
    "taken_one_by_one": (lambda it: it.taken_one_by_one([7]), "rows.backlog_taken"),
    "reopened": (lambda it: it.reopened(run(), 11), "rows.reopened"),
    "ended": (lambda it: it.ended(run()), "rows.ended"),
    "result_named": (lambda it: it.result_named(run(), [BlobRef(name="n")]), "rows.blob_refs"),
    "cached": (lambda it: it.cached(run(), 1), "rows.cache"),
    "event": (lambda it: it.event(run(), 5, state=1, reason=0, attempt=1), "rows.events"),
    "logged": (lambda it: it.logged(run(), 0, 5, 20, "logger", "text"), "rows.logs"),
    "tells": (lambda it: it.tells(SESSION, (b"r" * 16, 5, 20, "logger", "text", "run")), "lines"),
    "look_up_run": (lambda it: it.look_up_run(b"r" * 16), "rows.lookup_runs"),
    "look_up_key": (lambda it: it.look_up_key("k"), "rows.lookup_keys"),
    "logs_came": (lambda it: it.logs_came(SESSION, 3, 5), "rows.log_marks"),
    "logs_beside": (lambda it: it.logs_beside(SESSION, 3), "logged"),
    "logs_lost": (lambda it: it.logs_lost(5, 7, None, 3), "rows.logs"),
    "accepted": (lambda it: it.accepted(SESSION, 3), "accepted"),
    "reported": (lambda it: it.reported(AGENT, 3), "reported"),
    "decided": (lambda it: it.decided(SESSION, session_service_pb2.FlowDecision()), "decided"),
    "follows": (lambda it: it.follows(run(), 1), "effects"),
    "then": (lambda it: it.then(lambda: None), "then"),
}
QUESTIONS = {
    "open",
    "full",
    "new_runs",
    "has_backlogged",
    "backlogged_in",
    "uncommitted_bytes",
    "is_recorded",
    "holds_logs_of",
}
WITHOUT_A_COMMIT = {
    "counted",
    "dispatched",
    "dispatches_over_below",
    "forget_log_marks",
    "nothing_open_below",
    "works",
}
"""These have no hurry, and say so."""


def journal_of(committer: Any, *next_agent: int) -> Journal:
    return Journal(committer, LogNumbers(AtFive()), LeavingBlobs(lambda: 0.0), *next_agent)  # type: ignore[arg-type]


def at(commit: Commit, path: str) -> Any:
    found: Any = commit
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_said_is_in_a_commit_that_will_be_written(verb: str):
    committer = Scheduled()
    say, where = VERBS[verb]
    say(journal_of(committer))  # type: ignore[arg-type]
    assert len(at(committer.open, where)) == 1
    assert committer.touched
    assert not committer.open.empty()


def test_every_verb_is_held_to_it():
    verbs = {name for name in vars(Journal) if not name.startswith("_")} - QUESTIONS
    assert verbs == VERBS.keys() | WITHOUT_A_COMMIT


def test_the_name_of_an_agent_rides_on_the_next_commit_under_a_number_of_its_own():
    committer = Scheduled()
    journal = journal_of(committer, 7)  # type: ignore[arg-type]
    hello = agent_service_pb2.AgentHello(agent_id="a", name="anvil")
    first, second = AgentSession(hello, 0.0, 0), AgentSession(hello, 0.0, 0)
    for agent, at_us in ((first, 5), (second, 6), (first, 7)):
        journal.works(agent, at_us)
    assert (first.identity, second.identity) == (("a", 7), ("a", 8))
    assert committer.open.rows.agents == [(7, "a", "anvil", 5), (8, "a", "anvil", 6)], "once each"
    assert (committer.riding, committer.touched) == (2, 0)
    assert committer.open.empty(), "it is no reason to commit"


def test_a_dispatch_rides_on_the_next_commit():
    committer = Scheduled()
    journal_of(committer).dispatched(1, AGENT, 5, b"")  # type: ignore[arg-type]
    assert (committer.riding, committer.touched) == (1, 0)
    assert committer.open.empty(), "it is no reason to commit"
    assert committer.open.rows.rows() == 1


@pytest.mark.parametrize(("flow", "expected"), [(None, None), (3, 3)])
def test_logs_of_a_task_run_are_those_of_its_flow_run(flow: int | None, expected: int | None):
    committer = Scheduled()
    template = Template(2, b"f", b"", kind=RunKind.FLOW)
    outer = Run(flow, b"f" * 16, template, RunState.RUNNING, None, None, None, 0, 0) if flow else None
    journal_of(committer).logged(  # type: ignore[arg-type]
        run(flow=outer), flow or 0, 5, HIGHEST_LEVEL + 1, "l", "m"
    )
    assert committer.open.rows.logs == [(7, expected, 5, HIGHEST_LEVEL, "l", "m", 5)]


def test_logs_of_a_flow_run_are_its_own():
    committer = Scheduled()
    flow = run(Template(2, b"f", b"", kind=RunKind.FLOW))
    journal_of(committer).logged(flow, 0, 5, 20, "l", "m")  # type: ignore[arg-type]
    assert committer.open.rows.logs == [(7, 7, 5, 20, "l", "m", 5)]


def test_what_only_the_open_commit_has_can_be_asked_for():
    committer = Scheduled()
    journal = journal_of(committer)  # type: ignore[arg-type]
    assert (journal.new_runs, journal.has_backlogged) == (0, False)
    journal.queued(run())
    journal.backlogged("lane", 0, [7, 8])
    journal.backlogged("lane", 1, [9])
    assert (journal.new_runs, journal.has_backlogged) == (1, True)
    assert [journal.backlogged_in("lane", priority) for priority in (0, 1, 2)] == [2, 1, 0]


def test_b5_9_a_cached_result_expires_by_the_clock_here_where_its_workers_is_ahead() -> None:
    ended = run(Template(1, b"d", b"m", cache_expiration_us=1000))
    ended.ended_us = 5_000_000
    assert cache_row(ended, 2_000)[2] == 3_000
    assert cache_row(ended, 9_000_000)[2] == 5_001_000
