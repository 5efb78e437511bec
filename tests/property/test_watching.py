"""A watch may break off anywhere: who goes on is given the last change of each run, and never goes back."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.changes import Changes, Interest, Watch
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.timers import Timers

_TASK = Template(1, b"t", b"", name="task")
_NIGHTLY = Template(2, b"f", b"", kind=RunKind.FLOW)
_FLOW = Run(99, b"f" * 16, _NIGHTLY, RunState.RUNNING, None, None, None, 0, 0)
_ENDS = (RunState.COMPLETED, RunState.FAILED)

_seqs = st.integers(1, 8)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.lists(_seqs, min_size=1, max_size=4)),
        st.tuples(st.just("end"), st.lists(_seqs, min_size=1, max_size=4)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("cut"), st.none()),
    ),
    max_size=60,
)
_interests = st.sampled_from(
    [
        Interest(),
        Interest(flow_seq=_FLOW.seq),
        Interest(run_ids=frozenset(seq.to_bytes(16, "big") for seq in (1, 2, 5))),
        Interest(ends=frozenset({RunState.FAILED})),
        Interest(flow_seq=_FLOW.seq, ends=frozenset(_ENDS)),
    ]
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    it = asyncio.new_event_loop()
    yield it
    it.close()


class Story:
    """Runs that change, and a client that watches them, loses its connection and comes back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interest: Interest) -> None:
        clock: Any = loop
        self.timers = Timers(loop, clock)
        self.changes = Changes(RunBook(), self.timers)
        self.changes.watch(Interest(), None, lambda: None)  # so that the ring stays
        self.interest = interest
        self.runs = {seq: self._run(seq) for seq in range(1, 9)}
        self.now = 0
        self.changed: dict[bytes, int] = {}
        """When each run that is meant changed last."""
        self.told: dict[bytes, int] = {}
        """When the client was told of it last, of what it was then."""
        self.watch: Watch = self.changes.watch(interest, None, lambda: None)
        self.token = self.watch.position

    def _run(self, seq: int) -> Run:
        flow = _FLOW if seq % 2 else None
        return Run(seq, seq.to_bytes(16, "big"), _TASK, RunState.READY, flow, None, None, 0, 0)

    def change(self, seqs: list[int]) -> None:
        self._note([self.runs[seq] for seq in seqs])

    def end(self, seqs: list[int]) -> None:
        runs = [self.runs[seq] for seq in seqs]
        for run in runs:
            if run.state == RunState.READY:
                run.state = _ENDS[run.seq // 2 % 2]
        self._note(runs)

    def _note(self, runs: list[Run]) -> None:
        self.now += 1
        commit = Commit(1)
        commit.effects = [(run, 0) for run in runs]
        self.changes.committed(commit)
        for run in filter(self._is_meant, runs):
            self.changed[run.run_id] = self.now

    def _is_meant(self, run: Run) -> bool:
        ids, flow_seq, ends = self.interest
        inside = run.flow.seq if run.flow is not None else None
        return (
            (ids is None or run.run_id in ids)
            and (flow_seq is None or inside == flow_seq)
            and (ends is None or run.state in ends)
        )

    def take(self, most: int) -> None:
        for run_id in self.watch.take(most):
            self.told[run_id] = self.now
        assert self.watch.position >= self.token, "a token never goes back"
        self.token = self.watch.position

    def cut(self, _: None) -> None:
        self.changes.leave(self.watch)
        self.watch = self.changes.watch(self.interest, self.token, lambda: None)
        self.take(0)

    def check(self) -> None:
        while self.watch.pending:
            self.take(3)
        assert self.token == self.changes.position, "who was told of everything has the newest token"
        assert self.told.keys() == self.changed.keys(), "and of nothing else"
        assert all(self.told[run_id] >= at for run_id, at in self.changed.items())


@given(_interests, _steps)
def test_wherever_a_watch_breaks_off_the_last_change_of_each_run_is_told(
    loop: asyncio.AbstractEventLoop, interest: Interest, steps: list[tuple[str, Any]]
) -> None:
    story = Story(loop, interest)
    for verb, argument in steps:
        getattr(story, verb)(argument)
    story.cut(None)
    story.check()
    story.timers.stop()


def test_a_token_follows_a_watch_that_is_always_behind(loop: asyncio.AbstractEventLoop) -> None:
    story = Story(loop, Interest())
    story.change([1, 2])
    for _ in range(100):
        story.change([3, 4])
        story.change([5, 6])
        story.take(2)
        assert story.watch.pending
        assert story.changes.position - story.token <= 3
    story.timers.stop()
