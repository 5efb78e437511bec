"""When a program is told why it waits: the clock is the test's."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from support.loopback import LoopbackSession

from taskyard._data.values.waits import WAITS, unfinished, waiting_for
from taskyard._network.session.wait_watch import MOST_ASKED, WaitWatch, sample
from taskyard.futures import Future, FutureList, as_completed, wait
from taskyard_contract.id_factory import new_id, new_ids


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    assert WAITS == {}
    yield
    assert WAITS == {}, "whoever has waited takes the note back"


@pytest.fixture
def future(session: LoopbackSession) -> Future[int]:
    return Future(new_id(), session.scope())


def looks(watch: WaitWatch, *times: float, news: int = 0) -> list[float]:
    """Return those of some times at which it was time to ask, and the question was asked."""
    found = []
    for now in times:
        if watch.look(now, news):
            watch.asked(now)
            found.append(now)
    return found


def seconds(first: float, last: float) -> list[float]:
    return [first + half / 2 for half in range(int(2 * (last - first)) + 1)]


def test_nobody_is_asked_while_nobody_waits() -> None:
    assert looks(WaitWatch(), *seconds(0, 60)) == []


def test_the_first_question_comes_after_two_seconds_and_further_ones_less_and_less_often(
    future: Future[int],
) -> None:
    watch = WaitWatch()
    with waiting_for([future], None):
        asked = looks(watch, *seconds(0, 120))
    assert asked[:4] == [2.0, 4.0, 7.0, 11.5]
    pauses = [late - early for early, late in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 15.0


def test_whatever_ends_begins_the_quiet_anew(future: Future[int]) -> None:
    watch = WaitWatch()
    with waiting_for([future], None):
        assert looks(watch, *seconds(0, 1.5), news=0) == []
        assert looks(watch, *seconds(2, 3.5), news=1) == []
        assert looks(watch, 4.0, news=1) == [4.0]


def test_so_does_a_moment_without_anybody_who_waits(future: Future[int]) -> None:
    watch = WaitWatch()
    with waiting_for([future], None):
        looks(watch, 0, 1)
    looks(watch, 1.5)
    with waiting_for([future], None):
        assert looks(watch, *seconds(2, 3.5)) == []
        assert looks(watch, 4.0) == [4.0]


def test_an_answer_that_comes_after_news_is_of_no_interest(future: Future[int]) -> None:
    watch = WaitWatch()
    with waiting_for([future], None):
        looks(watch, 0, 2, news=5)
        assert watch.still_quiet(5)
        assert not watch.still_quiet(6)
    assert not watch.still_quiet(5)


def test_while_there_is_no_connection_nothing_counts(future: Future[int]) -> None:
    watch = WaitWatch()
    with waiting_for([future], None):
        looks(watch, 0, 1)
        watch.disturbed()
        assert looks(watch, *seconds(2, 3.5)) == []


def test_what_was_said_is_said_again_after_a_minute_and_another_reason_at_once() -> None:
    watch = WaitWatch()
    assert [watch.is_news("a", now) for now in (0, 30, 59)] == [True, False, False]
    assert watch.is_news("b", 59)
    assert watch.is_news("a", 60)
    assert not watch.is_news("b", 100)


def test_what_another_line_has_said_is_only_reminded_of() -> None:
    watch = WaitWatch()
    told = [now for now in range(0, 200, 5) if watch.is_news("retry delay", now, is_said=True)]
    assert told == [60, 120, 180]


def test_and_said_anew_by_the_other_line_it_is_not_told_at_once() -> None:
    watch = WaitWatch()
    assert not watch.is_news("retry delay", 0.0, is_said=True)
    assert not watch.is_news("retry delay", 600.0, is_said=True), "another attempt has failed since"
    assert watch.is_news("retry delay", 660.0, is_said=True)


def test_when_nobody_has_waited_for_a_while_what_was_said_is_forgotten(future: Future[int]) -> None:
    watch = WaitWatch()
    with waiting_for([future], None):
        looks(watch, 0)
        assert watch.is_news("a", 2)
    looks(watch, 5)
    assert not watch.is_news("a", 6)
    looks(watch, 11)
    assert watch.is_news("a", 12)


def test_some_of_very_many_are_asked_about() -> None:
    run_ids = new_ids(1_000)
    some = sample(dict.fromkeys(run_ids))
    assert len(some) == len(set(some)) == MOST_ASKED
    assert some[0] == run_ids[0]
    assert run_ids.index(some[-1]) > 900
    assert sample(dict.fromkeys(run_ids[:3])) == run_ids[:3]


def one_by_one(futures: FutureList[int]) -> None:
    assert all(future.wait(0.05) is None for future in futures)


def as_a_list(futures: FutureList[int]) -> None:
    with pytest.raises(TimeoutError):
        futures.result(0.05)


def as_a_set(futures: FutureList[int]) -> None:
    assert wait(futures, 0.05).done == set()


def as_they_end(futures: FutureList[int]) -> None:
    with pytest.raises(TimeoutError):
        list(as_completed(futures, 0.05))


def gathered(futures: FutureList[int]) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.gather(*(future.aresult() for future in futures))

    asyncio.run(main())


def awaited(futures: FutureList[int]) -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(futures.aresult(0.05))


@pytest.mark.parametrize("way", [one_by_one, as_a_list, as_a_set, as_they_end, gathered, awaited])
def test_everything_that_a_program_can_wait_with_is_noted(
    session: LoopbackSession, way: Callable[[FutureList[int]], None]
) -> None:
    scope = session.scope()
    futures = FutureList([Future[int](new_id(), scope) for _ in range(3)])
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.update(unfinished())

    looking = threading.Thread(target=look)
    looking.start()
    way(futures)
    over.set()
    looking.join()
    assert seen == {future.run_id for future in futures}


def test_what_has_ended_is_not_waited_for(future: Future[int]) -> None:
    with waiting_for([future], "context"):
        assert unfinished() == {future.run_id: "context"}
        future.settle(b"")
        assert unfinished() == {}
