"""What is kept of outcomes: the latest ones, as many bytes as there may be, of runs that somebody holds."""

import gc
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard._data.values.kept import AHEAD_BYTES, AHEAD_RUNS, Dropped, Kept


class Run:
    """A run that has an outcome, or what that was replaced by."""

    def __init__(self, *, plain: bool = True, droppable: bool = True) -> None:
        self.place: Dropped | None = None
        self._plain = plain
        self._droppable = droppable

    def drop(self, plain: Dropped, other: Dropped) -> Dropped | None:
        if not self._droppable:
            return None
        self.place = plain if self._plain else other
        return self.place

    def has_dropped(self, dropped: Dropped) -> bool:
        return self.place is dropped


def entered(kept: Kept, count: int, size: int = 10) -> list[Run]:
    runs = [Run() for _ in range(count)]
    for run in runs:
        kept.enter(run, size)
    return runs


def test_nothing_is_dropped_while_there_is_room() -> None:
    kept = Kept(100)
    assert all(run.place is None for run in entered(kept, 10))
    assert kept.size == 100


def test_the_oldest_are_dropped_first_and_rather_more_of_them_than_needed() -> None:
    kept = Kept(100)
    runs = entered(kept, 11)
    assert [run.place is None for run in runs] == [False] * 4 + [True] * 7
    assert kept.size == 70


def test_what_came_last_is_kept_however_large_it_is() -> None:
    kept, first, large = Kept(100), Run(), Run()
    kept.enter(first, 10)
    kept.enter(large, 1_000)
    assert (first.place is None, large.place is None) == (False, True)
    kept.enter(last := Run(), 1)
    assert (large.place is None, last.place is None) == (False, True)


def test_with_no_room_at_all_only_the_last_one_is_kept() -> None:
    runs = entered(Kept(0), 3)
    assert [run.place is None for run in runs] == [False, False, True]


def test_runs_that_nobody_holds_make_room_before_others_have_to() -> None:
    kept = Kept(100)
    gone, held = entered(kept, 8), entered(kept, 2)
    last_of_them = ref(gone[-1])
    gone.clear()
    gc.collect()
    assert last_of_them() is None, "nothing in here holds a run"
    assert all(run.place is None for run in (*held, *entered(kept, 5)))
    assert kept.size == 70


def test_ordinary_values_are_apart_from_other_outcomes() -> None:
    kept, plain, failed = Kept(0), Run(), Run(plain=False)
    for run in (plain, failed, Run()):
        kept.enter(run, 1)
    assert plain.place is not None
    assert failed.place is not None
    assert (plain.place.is_plain, failed.place.is_plain) == (True, False)


def test_what_cannot_be_dropped_is_counted_no_more() -> None:
    kept = Kept(10)
    local, last = Run(droppable=False), Run()
    kept.enter(local, 8)
    kept.enter(last, 4)
    assert (kept.size, local.place, last.place) == (4, None, None)


def test_not_too_many_share_a_place() -> None:
    kept = Kept(10_000)
    runs = entered(kept, 10_000, 1)
    kept.enter(Run(), 10_000)
    places = {id(run.place) for run in runs}
    assert len(places) == 3
    assert all(run.place is not None and len(run.place) <= 4_096 for run in runs)


def dropped(count: int, size: int = 1) -> tuple[list[Run], Dropped]:
    place, runs = Dropped(is_plain=True), [Run() for _ in range(count)]
    for run in runs:
        place.add(ref(run), size)
        run.place = place
    return runs, place


def taken(place: Dropped, runs: list[Run], run: Run) -> list[int]:
    """Ask for a run, and have what comes read."""
    asked = place.ask_for(run)
    for each in asked:
        each.place = None
    return [runs.index(each) for each in asked]


def test_who_asks_for_one_after_the_other_gets_more_each_time() -> None:
    runs, place = dropped(20)
    assert taken(place, runs, runs[0]) == [0]
    assert taken(place, runs, runs[1]) == [1, 2]
    assert taken(place, runs, runs[3]) == [3, 4, 5, 6]
    assert taken(place, runs, runs[7]) == list(range(7, 15))
    assert taken(place, runs, runs[15]) == list(range(15, 20))


def test_who_asks_for_one_out_of_turn_gets_that() -> None:
    runs, place = dropped(20)
    taken(place, runs, runs[0])
    taken(place, runs, runs[1])
    assert taken(place, runs, runs[10]) == [10]
    assert taken(place, runs, runs[11]) == [11, 12]
    assert taken(place, runs, runs[3]) == [3]


def test_no_more_is_read_ahead_than_a_few_megabytes() -> None:
    runs, place = dropped(10, AHEAD_BYTES // 2)
    assert [taken(place, runs, runs[at]) for at in (0, 1, 3, 5)] == [[0], [1, 2], [3, 4], [5, 6]]
    many, place = dropped(4 * AHEAD_RUNS)
    at = 0
    while at < len(many):
        got = taken(place, many, many[at])
        assert len(got) <= AHEAD_RUNS
        at = got[-1] + 1


def test_what_was_read_or_let_go_is_not_asked_for_again() -> None:
    runs, place = dropped(8)
    taken(place, runs, runs[0])
    runs[2].place = None
    assert taken(place, runs, runs[1]) == [1]
    del runs[4]
    gc.collect()
    assert [runs.index(run) for run in place.ask_for(runs[3])] == [3, 4, 5]


def test_a_run_is_read_again_though_it_is_not_among_the_others() -> None:
    runs, place = dropped(3)
    stranger = Run()
    assert place.ask_for(stranger) == [stranger]
    assert runs


@pytest.mark.parametrize("most", [0, 50, 1_000])
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=60), let_go=st.sets(st.integers(0, 59)))
def test_there_is_never_more_than_there_may_be(most: int, sizes: list[int], let_go: set[int]) -> None:
    kept = Kept(most)
    held: dict[int, Run] = {}
    for number, size in enumerate(sizes):
        held[number] = run = Run()
        kept.enter(run, size)
        assert run.place is None
        in_memory = sum(sizes[each] for each, of in held.items() if of.place is None)
        assert in_memory <= max(most, size)
        assert in_memory <= kept.size
        if number in let_go:
            del held[number], run
