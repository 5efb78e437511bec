"""Futures whose results are dropped for want of room read them again when somebody asks."""

import asyncio
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest
from support.loopback import LoopbackSession

from taskyard import as_completed, task, wait
from taskyard._data.values import awaited
from taskyard._data.values.kept import DECODED, KEPT, SMALL_BYTES, Dropped
from taskyard._data.values.told import Told
from taskyard._engine.futures.held import UNDECODED
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard._network.session.tally import Ends
from taskyard.exceptions import ConnectionFailed, MissingResult
from taskyard.futures import Future, FutureList
from taskyard_api.v1 import errors_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import pickling
from taskyard_contract.states import RunState, StateType

LARGE = 2 * SMALL_BYTES


@task
def make(number: int) -> bytes:
    return bytes([number % 256]) * LARGE


@task
def fail(number: int) -> None:
    raise ValueError(f"{number:{LARGE}}")


@task(result_encoding="json")
def words(number: int) -> list[str]:
    return [str(number)] * LARGE


@task(persist_result=True, cache_result_in_memory=False)
def read_each_time(number: int) -> list[int]:
    return [number] * LARGE


@task
def identity(value: Any) -> Any:
    return value


@pytest.fixture(autouse=True)
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what came last is kept."""
    monkeypatch.setattr(KEPT, "most", 0)


def mapped(of: Any, session: LoopbackSession, count: int, **options: Any) -> FutureList[Any]:
    scope = session.scope(**options)
    return submit_many(of, scope, expand(of.signature, (list(range(count)),), {}))


def is_dropped(future: Future[Any]) -> bool:
    return isinstance(future._outcome, Dropped)


def test_dropped_results_are_read_again_as_often_as_they_are_asked_for(session: LoopbackSession) -> None:
    futures = mapped(make, session, 20)
    assert [is_dropped(future) for future in futures] == [True] * 19 + [False]
    for _ in range(2):
        assert [future.result() for future in futures] == [bytes([n]) * LARGE for n in range(20)]
    assert futures.result() == [bytes([n]) * LARGE for n in range(20)]
    assert sum(map(is_dropped, futures)) == 19


def test_the_runs_of_dropped_results_have_ended_all_the_same(session: LoopbackSession) -> None:
    futures = mapped(make, session, 5)
    asked = len(session.script.frames)
    assert all(future.done() and future.completed() for future in futures)
    assert all(future.state.is_completed() for future in futures)
    assert wait(futures).not_done == set()
    assert len(list(as_completed(futures))) == 5
    assert len(session.script.frames) == asked, "nothing of that is asked of the control plane"
    assert session.scope().open_futures() == []


def test_small_results_are_never_dropped(session: LoopbackSession) -> None:
    scope = session.scope()
    futures = [submit_one(identity, scope, (number,), {}) for number in range(5)]
    futures += [submit_one(make, scope, (1,), {}) for _ in range(2)]
    assert [is_dropped(future) for future in futures] == [False] * 5 + [True, False]


def test_a_value_that_is_kept_is_the_same_object(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KEPT, "most", 10 * LARGE)
    future = mapped(make, session, 1)[0]
    assert future.result() is future.result()
    assert future.state.result() is future.result()
    assert future._outcome is DECODED, "and its bytes are not kept beside it"


def test_decoded_values_are_dropped_as_well(session: LoopbackSession) -> None:
    first, second = mapped(make, session, 2)
    assert second.result() == bytes([1]) * LARGE
    assert second.state.result() == bytes([1]) * LARGE
    assert first.result() == bytes([0]) * LARGE
    assert is_dropped(second)
    assert (second._value, second._state) == (UNDECODED, None)


def test_failures_are_read_again_with_their_exceptions(session: LoopbackSession) -> None:
    futures = mapped(fail, session, 3)
    assert is_dropped(futures[0])
    assert not futures[0].completed()
    for number, future in enumerate(futures):
        with pytest.raises(ValueError, match=f" {number}$"):
            future.result()
    assert futures[0].state.type is StateType.FAILED
    assert [type(value) for value in futures.result(raise_on_failure=False)] == [ValueError] * 3


def test_how_a_run_ended_is_said_once_though_it_is_read_again(session: LoopbackSession) -> None:
    said: list[pb.RunOutcome] = []
    session.in_flight.ends.say = said.extend
    futures = mapped(fail, session, 3)
    assert len(said) == 3
    futures.result(raise_on_failure=False)
    assert len(said) == 3


def test_results_in_other_encodings_are_read_again(session: LoopbackSession) -> None:
    futures = mapped(words, session, 3)
    assert is_dropped(futures[0])
    assert futures.result() == [[str(n)] * LARGE for n in range(3)]


def test_results_that_are_read_each_time_are(session: LoopbackSession) -> None:
    futures = mapped(read_each_time, session, 3)
    assert is_dropped(futures[0])
    for _ in range(2):
        assert futures.result() == [[n] * LARGE for n in range(3)]


def test_dropped_results_are_awaited_without_blocking_the_loop(session: LoopbackSession) -> None:
    futures = mapped(make, session, 3)
    failures = mapped(fail, session, 3)

    async def main() -> tuple[list[bytes], StateType]:
        return await futures, (await failures[0].await_state()).type

    assert asyncio.run(main()) == ([bytes([n]) * LARGE for n in range(3)], StateType.FAILED)


def test_who_watches_a_flow_run_counts_no_run_twice(session: LoopbackSession) -> None:
    scope = session.scope()
    session.in_flight.tally.begin(ends := Ends(scope))
    futures = submit_many(make, scope, expand(make.signature, (range(10),), {}))
    futures.result()
    assert ends.ended == 10
    submit_many(make, scope, expand(make.signature, (range(4),), {}))
    assert ends.ended == 14


def test_what_is_asked_for_is_asked_for_again_on_a_new_stream(session: LoopbackSession) -> None:
    future = mapped(make, session, 2)[0]
    session.silent = True
    values: list[bytes] = []
    asking = threading.Thread(target=lambda: values.append(future.result()))
    asking.start()
    while session.in_flight.next_frame() is None:  # and it is lost with its stream
        pass
    session.silent = False
    session.reconnect()
    asking.join(30)
    assert values == [bytes([0]) * LARGE]


def test_two_who_ask_for_one_result_are_answered_both(session: LoopbackSession) -> None:
    future = mapped(make, session, 2)[0]
    session.silent = True
    values: list[bytes] = []
    asking = [threading.Thread(target=lambda: values.append(future.result())) for _ in range(2)]
    for thread in asking:
        thread.start()
    while len(session.in_flight._subscriptions) < 2:
        pass
    session.silent = False
    session.wake()
    for thread in asking:
        thread.join(30)
    assert values == 2 * [bytes([0]) * LARGE]
    assert not session.in_flight.outstanding()


def test_a_run_that_was_removed_meanwhile_has_no_result(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = mapped(make, session, 2)[0]

    def refused(frame: pb.ClientFrame, _: object) -> Iterator[pb.SessionFrame]:
        for run_id in frame.subscribe:
            error = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_RUN_NOT_FOUND, run_id=run_id)
            yield pb.SessionFrame(refused=[pb.RefusedRun(run_id=run_id, error=error)])

    monkeypatch.setattr(session.script, "answers", refused)
    session.in_flight.tally.begin(ends := Ends(future.origin))
    with pytest.raises(MissingResult, match="no longer at the control plane"):
        future.result()
    assert (ends.ended, ends.failed) == (0, 0), "it is no end of a run"
    assert future.done()
    assert future.completed()


def test_a_run_whose_value_was_removed_meanwhile_has_no_result(session: LoopbackSession) -> None:
    future = mapped(make, session, 2)[0]
    session.script.results[future.run_id] = b""
    with pytest.raises(MissingResult):
        future.result()


def test_when_the_session_is_over_nothing_is_read_again(session: LoopbackSession) -> None:
    future = mapped(make, session, 2)[0]
    session.in_flight.on_fatal(ConnectionFailed("over"))
    with pytest.raises(ConnectionFailed, match="over"):
        future.result()
    assert future.state.is_completed(), "that is known"


def test_values_of_this_process_are_not_dropped_but_for_their_bytes(session: LoopbackSession) -> None:
    session.script.execute = False
    ended, failed = mapped(identity, session, 2)
    value, error = object(), ValueError("of this process")
    ended.keep_local(value)
    failed.keep_local(error)
    outcome = pb.RunOutcome(run_id=failed.run_id, state=RunState.FAILED, message="x" * LARGE)  # type: ignore[arg-type]
    results = pb.ResultBatch(run_ids=[ended.run_id], data=[bytes(LARGE)], others=[outcome])
    session.in_flight.on_frame(pb.SessionFrame(results=results))
    session.script.execute = True
    mapped(make, session, 3)
    assert ended._outcome is DECODED
    assert ended.result() is value
    with pytest.raises(ValueError, match="of this process") as caught:
        failed.result()
    assert caught.value is error


def test_what_as_completed_has_yielded_it_does_not_hold(session: LoopbackSession) -> None:
    session.script.execute = False
    futures = list(mapped(make, session, 50))
    session.in_flight._outstanding.clear()  # the session lets them go when it settles them, as is done here
    watched = [ref(future) for future in futures]
    for future in futures[:25]:
        future.settle(b"x")
    arriving = as_completed(futures)
    later = futures[25:]
    del futures, future
    for count in range(1, 26):
        assert next(arriving).done()
        assert sum(each() is not None for each in watched) <= 50 - count + 1
    for future in later:
        future.settle(b"x")
    del later, future
    for count in range(26, 51):
        assert next(arriving).done()
        assert sum(each() is not None for each in watched) <= 50 - count + 1
    assert list(arriving) == []
    assert not any(each() for each in watched)


def test_as_completed_takes_futures_when_the_first_is_asked_for(session: LoopbackSession) -> None:
    scope = session.scope()
    arriving = as_completed(submit_one(make, scope, (number,), {}) for number in range(3))
    assert session.script.submitted == []
    assert len(list(arriving)) == 3
    assert len(session.script.submitted) == 3


def test_as_completed_of_ended_open_and_dropped_runs(session: LoopbackSession) -> None:
    ended = mapped(make, session, 3)
    session.script.execute = False
    opened = mapped(identity, session, 1)[0]
    arriving = as_completed([opened, *ended, opened, *ended])
    assert {next(arriving) for _ in range(3)} == set(ended)
    opened.settle(b"x")
    assert list(arriving) == [opened]


def test_an_open_future_takes_less_than_a_kilobyte(session: LoopbackSession) -> None:
    session.script.execute = False
    count = 5_000
    mapped(identity, session, count)
    tracemalloc.start()
    try:
        futures = mapped(identity, session, count)
        arriving = as_completed(futures, timeout=0)
        with pytest.raises(TimeoutError):
            next(arriving)
        assert tracemalloc.get_traced_memory()[1] < 1_000 * count
    finally:
        tracemalloc.stop()


def test_memory_of_ended_runs_does_not_grow_with_their_results(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 500
    held = {}
    for size in (1_000, 20_000):
        monkeypatch.setattr(KEPT, "most", 200_000)
        session.silent = True
        futures = mapped(identity, session, count)
        session.in_flight._outbox.next_frame(with_groups=True)
        tracemalloc.start()
        try:
            for start in range(0, count, 50):
                ids = [future.run_id for future in futures[start : start + 50]]
                results = pb.ResultBatch(run_ids=ids, data=[bytes(size)] * len(ids))
                session.in_flight.on_frame(pb.SessionFrame(results=results))
                del results
            held[size] = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        del futures
    assert held[20_000] < 2 * held[1_000] < 1_000_000


def test_an_outcome_does_not_hold_the_message_that_it_came_with(session: LoopbackSession) -> None:
    session.silent = True
    future = mapped(identity, session, 1)[0]
    frame = pb.SessionFrame(results=pb.ResultBatch(others=[pb.RunOutcome(run_id=future.run_id, state=5)]))  # type: ignore[arg-type]
    session.in_flight.on_frame(frame)
    frame.results.others[0].message = "changed"
    assert isinstance(future._outcome, Told)
    assert future.outcome == pb.RunOutcome(run_id=future.run_id, state=5)  # type: ignore[arg-type]


def test_a_failure_that_is_asked_for_again_and_again_does_not_grow(session: LoopbackSession) -> None:
    future = mapped(fail, session, 1)[0]
    lengths = set()
    for _ in range(5):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is long
            future.result()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def test_a_failure_of_the_session_does_not_grow_with_those_who_hear_of_it(session: LoopbackSession) -> None:
    session.script.execute = False
    futures = mapped(make, session, 5)
    session.in_flight.on_fatal(ConnectionFailed("over"))
    lengths = set()
    for future in futures:
        with pytest.raises(ConnectionFailed) as caught:
            future.result()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def test_awaited_runs_without_values_are_not_dropped(session: LoopbackSession) -> None:
    run = awaited.AwaitedRun(b"x" * 16, session.scope())
    run.settle(b"x" * LARGE)
    run.weigh(LARGE)
    mapped(make, session, 3)
    assert run.outcome == b"x" * LARGE


class Recorded:
    """Where a run was submitted from whose outcome is there as soon as it is asked for."""

    flow_run_id = b""
    known = None

    def read_again(self, run: awaited.AwaitedRun, dropped: Dropped) -> awaited.AwaitedRun:
        again = awaited.AwaitedRun(run.run_id, self)  # type: ignore[arg-type]
        again.settle(pickling.dumps([1]))
        return again


def test_whoever_asks_and_whoever_drops_do_not_wait_for_each_other() -> None:
    future: Future[list[int]] = Future(b"x" * 16, Recorded())  # type: ignore[arg-type]
    future.settle(pickling.dumps([1]))
    asked = threading.Event()
    dropped = 0

    def drop() -> None:
        nonlocal dropped
        while not asked.is_set():
            place = future.drop(Dropped(is_plain=True), Dropped(is_plain=False))
            dropped += place is not None

    dropping = threading.Thread(target=drop)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        dropping.start()
        results = [future.result() for _ in range(20_000)]
    finally:
        asked.set()
        dropping.join(30)
        sys.setswitchinterval(interval)
    assert results == 20_000 * [[1]]
    assert dropped > 0
