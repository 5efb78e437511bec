"""Where runs stand that make calls: what a session says of itself is looked up, and never just believed."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.callers import Callers
from taskyard_controlplane.owner.rules.authority import MOMENT_US, Place

NOW_US: Final = 10 * MOMENT_US
FLOW, OTHER, INSIDE, OUTSIDE, ENDED = (letter * 16 for letter in (b"f", b"o", b"i", b"x", b"e"))


class Yard:
    """Two flow runs of one session, a task run in the first one, another one in none; and what is stored."""

    def __init__(self) -> None:
        self.owner = ClientSession(b"s" * 16, "owner", b"", 0.0)
        self.book = RunBook()
        self.stored: dict[bytes, Any] = {}
        self.looked_up: list[bytes] = []
        self.flow = self.add(1, FLOW, RunKind.FLOW)
        self.add(2, OTHER, RunKind.FLOW)
        self.add(3, INSIDE, RunKind.TASK, self.flow)
        self.add(4, OUTSIDE, RunKind.TASK)

    def add(self, seq: int, run_id: bytes, kind: int, flow: Run | None = None) -> Run:
        template = Template(seq, b"", b"", kind=kind, name="t")
        run = Run(seq, run_id, template, RunState.RUNNING, flow, self.owner, None, 0, 0)
        self.book.add(run)
        return run

    async def rows(self, run_ids: Sequence[bytes]) -> list[Any]:
        self.looked_up += run_ids
        return [self.stored[run_id] for run_id in run_ids if run_id in self.stored]

    def ended(self, ago_us: int, flow_seq: int = 1) -> None:
        self.stored[ENDED] = SimpleNamespace(
            run_id=ENDED, state=RunState.COMPLETED, ended_us=NOW_US - ago_us, flow_seq=flow_seq
        )

    def places(self, session: ClientSession, caller: bytes = b"", flow: bytes = FLOW) -> dict[bytes, Place]:
        callers = Callers(self.book, self, SimpleNamespace(now_us=lambda: NOW_US))  # type: ignore[arg-type]
        batch = pb.SubmitBatch(groups=[pb.RunGroup(flow_run_id=flow, caller_run_id=caller)])
        return dict(asyncio.run(callers.of(session, batch)))


@pytest.fixture
def yard() -> Yard:
    return Yard()


def named(caller: bytes) -> ClientSession:
    return ClientSession(b"n" * 16, "another", caller, 0.0)


def test_the_owner_of_a_flow_run_is_not_looked_up(yard: Yard) -> None:
    assert yard.places(yard.owner, ENDED) == {}
    assert yard.looked_up == []


def test_a_session_in_the_name_of_a_flow_run_stands_in_it(yard: Yard) -> None:
    assert yard.places(named(FLOW)) == {FLOW: Place(1)}


def test_a_flow_run_that_a_session_names_only_as_the_caller_says_nothing(yard: Yard) -> None:
    """Its own code opens a session in its name; a session of somebody else's may say anything."""
    assert yard.places(named(b""), FLOW) == {}
    assert yard.places(named(INSIDE), FLOW) == {}


def test_a_session_in_the_name_of_another_flow_run_stands_elsewhere(yard: Yard) -> None:
    assert yard.places(named(OTHER)) == {OTHER: Place(0)}


def test_task_runs_stand_where_they_were_submitted(yard: Yard) -> None:
    assert yard.places(named(INSIDE)) == {INSIDE: Place(1)}
    assert yard.places(named(OUTSIDE)) == {OUTSIDE: Place(0)}
    assert yard.places(named(OUTSIDE), INSIDE) == {INSIDE: Place(1)}, "workers go on in other runs"


def test_a_run_that_was_made_up_stands_nowhere(yard: Yard) -> None:
    assert yard.places(named(b"?" * 16)) == {}
    assert yard.looked_up == [b"?" * 16]


@pytest.mark.parametrize(("ago_us", "long"), [(0, False), (MOMENT_US, False), (MOMENT_US + 1, True)])
def test_a_task_run_that_has_ended_stands_there_for_a_moment(yard: Yard, ago_us: int, long: bool) -> None:
    yard.ended(ago_us)
    assert yard.places(named(ENDED)) == {ENDED: Place(1, long)}


def test_a_flow_run_that_has_ended_has_no_place_for_anybody(yard: Yard) -> None:
    yard.book.remove(yard.flow)
    assert yard.places(named(FLOW)) == {}
    assert yard.places(named(INSIDE)) == {}
    assert yard.looked_up == []
