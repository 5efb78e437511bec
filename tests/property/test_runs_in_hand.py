"""Every run in hand ends in exactly one of five ways, whatever happens to an agent and its workers."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.failing_properties import play_example
from support.fake_workers import FarEnd, ToldSession
from support.pool_stage import Stage

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.id_factory import new_ids
from taskyard_contract.ids import split_ids
from taskyard_contract.states import StateReason

WAYS: dict[str, Callable[[Holdings, Span], None]] = {
    "reported": lambda holdings, span: holdings.report(span, b""),
    "lost": lambda holdings, span: holdings.lose(span, StateReason.WORKER_DIED, "why"),
    "cancelled": lambda holdings, span: holdings.cancel(span),
    "given back": lambda holdings, span: holdings.give_back([span]),
    "dropped": lambda holdings, span: holdings.drop([span]),
}


def told(session: ToldSession) -> dict[str, list[bytes]]:
    """The runs of which a session was told that they ended, by the way they did."""
    return {
        "reported": [run_id for ids in session.reported for run_id in split_ids(ids)],
        "lost": session.lost_runs,
        "cancelled": session.ended_runs,
        "given back": session.given_back,
    }


def a_chunk(runs: int, first_epoch: int = 1, args: bytes = b"") -> Chunk:
    body = pb.ChunkBody(args=[args] * runs, ordinals=range(runs)).SerializeToString()
    template = LocalTemplate(1, template_pb2.TemplateDefinition())
    return Chunk(template, first_epoch, b"".join(new_ids(runs)), body)


ends = st.tuples(st.sampled_from(sorted(WAYS)), st.integers(0, 11), st.integers(1, 12))


@given(st.lists(ends, max_size=20))
def test_an_account_counts_each_run_once_and_tells_of_it_once(sequence: list[tuple[str, int, int]]) -> None:
    session, holdings = ToldSession(), Holdings()
    holdings.session = session  # type: ignore[assignment]
    chunk = a_chunk(12)
    holdings.accept(chunk)
    open_runs = set(range(12))
    expected: dict[str, list[bytes]] = {way: [] for way in WAYS}
    for way, start, count in sequence:
        positions = set(range(start, min(12, start + count)))
        if positions <= open_runs:  # what is told twice in part is a defect, and tested below
            WAYS[way](holdings, Span(chunk, min(positions), max(positions) + 1))
            open_runs -= positions
            expected[way] += [chunk.key(at).run_id for at in sorted(positions)]
        assert holdings.runs == len(open_runs)
        assert [key.epoch - 1 for key in holdings.run_keys()] == sorted(open_runs)
    del expected["dropped"]
    assert told(session) == expected


@pytest.mark.parametrize("first", sorted(WAYS))
@pytest.mark.parametrize("second", sorted(WAYS))
def test_a_second_end_is_told_to_nobody(first: str, second: str, caplog: pytest.LogCaptureFixture) -> None:
    session, holdings = ToldSession(), Holdings()
    holdings.session = session  # type: ignore[assignment]
    span = holdings.accept(a_chunk(3))
    WAYS[first](holdings, span.one(1))
    before = {way: list(runs) for way, runs in told(session).items()}
    with caplog.at_level(logging.ERROR):
        WAYS[second](holdings, span.one(1))
    assert (told(session), holdings.runs) == (before, 2)
    assert "1 of 1 runs ended twice" in caplog.text


def test_runs_stay_in_hand_when_they_get_a_chunk_of_their_own() -> None:
    holdings = Holdings()
    holdings.session = ToldSession()  # type: ignore[assignment]
    span = holdings.accept(a_chunk(4, args=b"x" * 10_000))
    before = {key.SerializeToString() for key in holdings.run_keys()}
    slim = holdings.slim(span.part(3, 4))
    assert slim.chunk is not span.chunk
    assert {key.SerializeToString() for key in holdings.run_keys()} == before
    holdings.drop([span.part(0, 3), slim])
    assert (holdings.runs, list(holdings.run_keys())) == (0, [])


class Life:
    """A pool, its workers' ends, and things that happen to them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.given: list[pb.RunKey] = []
        self.has: dict[int, list[list[int]]] = {}  # by worker, of each chunk: number, next position, end

    def ends(self) -> list[tuple[int, FarEnd]]:
        return [(number, self.stage.zygote.far[number]) for number in self.stage.workforce.workers]

    async def settle(self) -> None:
        """Let the agent read and the workers read."""
        for _ in range(3):
            await asyncio.sleep(0)
        for number, far in self.ends():
            for kind, body in far.received():
                if kind == frames.CHUNK:
                    chunk, _, _, start, stop, _ = frames.CHUNK_HEAD.unpack_from(body)
                    self.has.setdefault(number, []).append([chunk, start, stop])

    def happen(self, what: str, which: int) -> None:
        number, far = self.ends()[which % len(self.ends())] if self.ends() else (0, None)
        has = self.has.get(number, [])
        if what in {"assign", "assign blobs", "assign nested"}:
            self.given += self.stage.assign(
                1 + which % 4, blobs=what == "assign blobs", nested=what == "assign nested"
            )
        elif what == "cancel" and self.given:
            self.stage.pool.on_cancel([self.given[which % len(self.given)]])
        elif what == "drop" and self.given:
            self.stage.pool.on_drop([self.given[which % len(self.given)]])
        elif what == "arrive":
            self.stage.blobs.arrived.set()
        elif what == "drain":
            self.stage.pool.on_drain()
        elif what == "lose lease" and which == 0:
            self.stage.pool.on_lease_lost()
        elif far is not None:
            self.happen_to(what, number, far, has)

    def happen_to(self, what: str, number: int, far: FarEnd, has: list[list[int]]) -> None:
        starting = self.stage.worker(number).phase is WorkerPhase.STARTING
        if what == "ready" and starting:
            far.ready()
        elif what in {"exit", "die executing"}:
            if what == "die executing" and has:
                far.execute(has[0][0], has[0][1])
            self.stage.zygote.exited(number, 9)
            self.has.pop(number, None)
        elif what == "block" and has:
            far.blocked()
        elif what == "execute" and has:
            far.execute(has[0][0], has[0][1])
        elif what == "report" and has:
            chunk, start, stop = has[0]
            far.report(chunk, start, 1)
            has[0][1] += 1
            if start + 1 >= stop:
                del has[0]
        elif what == "answer":
            for chunk in far.asked_back():
                self.give_back(far, chunk, has)

    def give_back(self, far: FarEnd, chunk: int, has: list[list[int]]) -> None:
        """Answer as a worker does: the run it is at stays, what is behind it does not start."""
        for at, one in enumerate(has):
            if one[0] == chunk:
                first = one[1] + 1 if at == 0 else one[1]
                far.revoked(chunk, first)
                one[2] = first
                if one[1] >= one[2]:
                    del has[at]
                return
        far.revoked(chunk, frames.NOTHING_REVOKED)

    def check(self) -> None:
        """Every run in hand is in exactly one place, and all others have ended once; the server is told of
        all that are in hand but those whose end it is not to hear of.
        """
        pool = self.stage.pool
        given = [span for worker in pool.workforce.workers.values() for span in worker.spans.values()]
        spans = [*pool.intake.queue, *pool.transfers.spans(), *given]
        placed = [key.run_id for span in spans for key in span.run_keys()]
        in_hand = [key.run_id for key in pool.holdings.run_keys()]
        assert sorted(placed) == sorted(in_hand)
        assert pool.holdings.runs == len(in_hand)
        silent = {
            span.key(position).run_id
            for span in given
            for position in range(span.start, span.stop)
            if span.unwanted.get(position) is False
        }
        assert sorted(key.run_id for key in pool.held()) == sorted(set(in_hand) - silent)
        ended = Counter(run_id for runs in told(self.stage.told).values() for run_id in runs)
        assert not ended.keys() & set(in_hand)
        assert max(ended.values(), default=1) == 1


EVENTS = [
    "assign", "assign blobs", "assign nested", "ready", "ready", "report", "report", "execute", "answer",
    "answer", "block", "cancel", "drop", "arrive", "exit", "die executing", "drain", "lose lease",
]  # fmt: skip


BEGINNING = [("ready", 0), ("assign", 3), ("assign nested", 3), ("assign", 2)]
"""A worker that has something, and a queue."""


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 7)), min_size=5, max_size=40))
def test_whatever_happens_every_run_ends_once(sequence: list[tuple[str, int]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        defects: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: defects.append(context))
        stage = Stage()
        life = Life(stage)
        for _ in range(5):
            stage.pool.intake.sizer.ended(500, 0.005)  # so quick that workers get several at once, and ahead
        try:
            for what, which in BEGINNING:
                life.happen(what, which)
                await life.settle()
            for what, which in sequence:
                life.happen(what, which)
                await life.settle()
                life.check()
            stage.pool.on_doubt(True)
            stage.pool.on_lease_lost()
            stage.pool.on_drop(list(stage.pool.holdings.run_keys()))
            for number in list(stage.workforce.workers):
                stage.zygote.exited(number, 9)
            assert stage.in_hand() == (0, 0)
        finally:
            stage.pool.close()
        assert defects == []

    play_example(main())
