"""Changes: a watcher is given each run that changed, in order, once, and nothing is kept without a bound."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard_contract.errors import WatchExpired
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal import changes as module
from taskyard_controlplane.owner.journal.changes import EVERYTHING, LINGER_SECONDS, Changes, Interest, Watch
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.rows import new_row
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.timers import Timers

TASK = Template(1, b"t", b"", name="task")
FLOW = Run(1, b"f" * 16, Template(2, b"f", b"", kind=RunKind.FLOW), RunState.RUNNING, None, None, None, 0, 0)


def run(seq: int, flow: Run | None = None) -> Run:
    return Run(seq, seq.to_bytes(16, "big"), TASK, RunState.READY, flow, None, None, 0, 0)


def ids(*seqs: int) -> list[bytes]:
    return [seq.to_bytes(16, "big") for seq in seqs]


class Stand:
    """Changes, and a clock for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = 0.0
        clock: Any = self
        self.book = RunBook()
        self.timers = Timers(loop, clock)
        self.changes = Changes(self.book, self.timers)
        self.woken = 0

    def monotonic(self) -> float:
        return self.seconds

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.timers.fire()

    def wake(self) -> None:
        self.woken += 1

    def watch(self, interest: Interest = EVERYTHING, after: int | None = None) -> Watch:
        return self.changes.watch(interest, after, self.wake)

    def change(self, *runs: Run) -> None:
        self.changes.noticed(runs)


@pytest.fixture
def stand() -> Iterator[Stand]:
    loop = asyncio.new_event_loop()
    it = Stand(loop)
    yield it
    it.timers.stop()
    loop.close()


def test_nothing_is_to_be_noted_while_nobody_watches(stand: Stand) -> None:
    assert not stand.changes.watched
    stand.watch()
    assert stand.changes.watched


def test_a_watcher_is_given_what_changed_once_and_last_what_changed_last(stand: Stand) -> None:
    watch, first, second = stand.watch(), run(1), run(2)
    stand.change(first, second)
    stand.change(first)
    assert watch.take(10) == ids(2, 1)
    assert watch.take(10) == []
    stand.change(second)
    assert watch.take(10) == ids(2)


def test_a_commit_tells_of_new_runs_and_of_what_its_transitions_were_about(stand: Stand) -> None:
    watch, inside = stand.watch(), stand.watch(Interest(flow_seq=FLOW.seq))
    commit = Commit(1)
    commit.rows.new_runs = [new_row(run(2, FLOW)), new_row(run(3))]
    commit.effects = [(run(4, FLOW), 0), (run(5), 0), (run(6, FLOW), 0)]
    stand.changes.committed(commit)
    assert sorted(watch.take(10)) == ids(2, 3, 4, 5, 6)
    assert inside.take(10) == ids(2, 4, 6)


def test_a_commit_about_nothing_is_no_change(stand: Stand) -> None:
    watch = stand.watch()
    before = stand.changes.position
    stand.changes.committed(Commit(1))
    assert stand.changes.position == watch.position == before


def test_a_run_read_back_after_its_flow_run_ended_is_still_one_of_it(stand: Stand) -> None:
    stray = run(7)
    stand.book.strays[7] = FLOW.seq
    inside = stand.watch(Interest(flow_seq=FLOW.seq))
    stand.change(run(3), stray)
    assert inside.take(10) == ids(7)


def test_a_watcher_of_runs_is_given_these(stand: Stand) -> None:
    watch = stand.watch(Interest(run_ids=frozenset(ids(2, 9))))
    stand.change(run(1), run(2, FLOW), run(3))
    assert (watch.take(10), stand.woken) == (ids(2), 1)
    position = watch.position
    stand.change(run(1))
    assert stand.woken == 1, "it is none of its business"
    assert watch.position > position, "and it need not hear of it when it comes back"


def test_a_watcher_of_ends_is_given_these(stand: Stand) -> None:
    failed = Interest(ends=frozenset({RunState.FAILED, RunState.CRASHED}))
    watch, inside = stand.watch(failed), stand.watch(failed._replace(flow_seq=FLOW.seq))
    begin = watch.position
    stand.change(run(2), run(3, FLOW))
    new = [new_row(run(4)), new_row(ended(5, RunState.FAILED)), new_row(ended(6, RunState.COMPLETED))]
    commit = Commit(1)
    commit.rows.new_runs = new
    crashed, completed = ended(7, RunState.CRASHED, FLOW), ended(8, RunState.COMPLETED, FLOW)
    commit.effects = [(completed, 0), (crashed, 0), (run(9), 0)]
    stand.changes.committed(commit)
    assert (watch.take(10), inside.take(10)) == (ids(5, 7), ids(7))
    assert stand.watch(failed, begin).take(10) == ids(5, 7), "who comes back is given the same"


def ended(seq: int, state: RunState, flow: Run | None = None) -> Run:
    one = run(seq, flow)
    one.state = state
    return one


def test_nothing_is_kept_of_the_runs_that_watchers_named(stand: Stand) -> None:
    first, second = (stand.watch(Interest(run_ids=frozenset(ids(2, number)))) for number in (3, 4))
    stand.changes.leave(first)
    stand.change(run(2))
    assert (first.pending, second.take(10)) == ({}, ids(2))
    stand.changes.leave(second)
    assert not stand.changes._named


def test_a_position_does_not_pass_what_was_not_taken(stand: Stand) -> None:
    watch = stand.watch()
    begin = watch.position
    stand.change(run(1), run(2))
    stand.change(run(3))
    assert watch.position == begin
    assert watch.take(1) == ids(1)
    assert watch.position == begin, "the second changed at once with the first"
    assert watch.take(1) == ids(2)
    assert watch.position == begin + 1, "it follows closely, however much is pending"
    assert stand.watch(after=watch.position).take(2) == ids(3)
    assert watch.take(2) == ids(3)
    assert watch.position == stand.changes.position


def test_who_comes_back_is_given_what_came_since(stand: Stand) -> None:
    watch = stand.watch(Interest(flow_seq=FLOW.seq))
    stand.change(run(1, FLOW))
    watch.take(10)
    position = watch.position
    stand.changes.leave(watch)
    stand.change(run(2, FLOW), run(3))
    stand.change(run(4, FLOW))
    again = stand.watch(Interest(flow_seq=FLOW.seq), position)
    assert again.take(10) == ids(2, 4)


@pytest.mark.parametrize("after", [-1, 0, 1_000])
def test_a_position_that_was_never_given_out_has_expired(stand: Stand, after: int) -> None:
    with pytest.raises(WatchExpired):
        stand.watch(after=after)
    assert len(stand.changes) == 0


def test_what_left_the_ring_has_expired_and_nothing_else(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 4)
    stand.watch()
    positions = []
    for seq in range(1, 8):
        positions.append(stand.changes.position)
        stand.change(run(seq), run(seq + 100))
    for position in positions[:-2]:
        with pytest.raises(WatchExpired):
            stand.watch(after=position)
    assert stand.watch(after=positions[-2]).take(10) == ids(6, 106, 7, 107)
    assert stand.watch(after=positions[-1]).take(10) == ids(7, 107)


def test_a_change_larger_than_the_ring_is_kept_alone(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    watch = stand.watch()
    position = watch.position
    stand.change(*map(run, range(5)))
    assert len(stand.watch(after=position).pending) == len(watch.pending) == 5


def test_the_ring_goes_some_time_after_the_last_watcher(stand: Stand) -> None:
    first = stand.watch()
    position = first.position
    stand.changes.leave(first)
    stand.changes.leave(first)
    stand.pass_time(LINGER_SECONDS / 2)
    stand.change(run(1))
    second = stand.watch(after=position)
    stand.pass_time(LINGER_SECONDS)
    assert stand.changes.watched, "somebody came back"
    stand.changes.leave(second)
    position = stand.changes.position
    stand.pass_time(LINGER_SECONDS + 1)
    assert (stand.changes.watched, stand.timers.pending()) == (False, [])
    with pytest.raises(WatchExpired):
        stand.watch(after=position)
    third = stand.watch()
    assert stand.watch(after=third.position).take(1) == []


def test_who_is_too_far_behind_is_lost_and_others_are_not(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PENDING", 3)
    slow, quick = stand.watch(), stand.watch(Interest(run_ids=frozenset(ids(2))))
    stand.change(*map(run, range(1, 4)))
    assert not slow.lost
    stand.change(run(4))
    assert "behind" in slow.lost
    assert slow.pending == {}
    assert not quick.lost
    stand.change(run(5))
    assert slow.take(10) == [], "it is given nothing more"
    assert quick.take(10) == ids(2)


def test_all_watchers_together_have_a_bound_and_the_slowest_goes_first(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PENDING_IN_ALL", 5)
    quick, slow = stand.watch(), stand.watch()
    stand.change(run(1), run(2))
    quick.take(10)
    stand.change(run(3), run(4))
    assert (bool(quick.lost), bool(slow.lost)) == (False, True)
    assert quick.take(10) == ids(3, 4)


def test_a_watcher_is_woken_when_it_is_lost(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PENDING", 0)
    stand.watch()
    stand.change(run(1))
    assert stand.woken == 2


def test_a_watcher_is_reminded_of_its_position_before_it_leaves_the_ring(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 8)
    watch = stand.watch(Interest(run_ids=frozenset(ids(1_000))))
    marked = watch.position
    while not watch.is_due:
        stand.change(run(1))
    assert stand.woken == 1
    stand.changes.leave(stand.watch(after=marked))
    woken = stand.woken
    watch.marked(watch.position)
    stand.change(run(1))
    assert (watch.is_due, stand.woken) == (False, woken), "that one is new enough"
