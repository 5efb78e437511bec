"""Semantics rows 50 to 56 and section B10: what futures promise."""

import asyncio
import pickle
import threading
from uuid import UUID

import pytest
from support.loopback import LoopbackSession

from taskyard import futures
from taskyard.exceptions import RunNotFound, UpstreamTaskError
from taskyard.futures import (
    Future,
    FutureList,
    as_completed,
    resolve_futures_to_results,
    resolve_futures_to_states,
    wait,
)
from taskyard.utilities.annotations import opaque, quote, unmapped
from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import pickling, references
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState, UpstreamKind


def future_of(session: LoopbackSession) -> Future[int]:
    return Future(new_id(), session.scope())


def settled(session: LoopbackSession, value: object) -> Future[int]:
    future = future_of(session)
    future.settle(pickling.dumps(value))
    return future


def failed(session: LoopbackSession, error: Exception) -> Future[int]:
    future = future_of(session)
    encoded = common_pb2.Payload(encoding=pickling.ENCODING, data=pickling.dumps(error))
    failure = failure_pb2.Failure(type=type(error).__name__, message=str(error), encoded=encoded)
    future.settle(pb.RunOutcome(run_id=future.run_id, state=RunState.FAILED, failure=failure))
    return future


def test_a_result_is_decoded_once(session: LoopbackSession) -> None:
    future = settled(session, [1, 2])
    assert future.result() is future.result()
    assert future.wait() is future.state
    assert future.get_state().result() is future.result()


def test_row_50_a_timeout_names_the_run_and_the_seconds(session: LoopbackSession) -> None:
    future = future_of(session)
    with pytest.raises(TimeoutError) as caught:
        future.result(timeout=0)
    assert str(caught.value) == f"Task run {future.task_run_id} did not complete within 0 seconds"


def test_row_50_an_exception_is_raised_or_returned(session: LoopbackSession) -> None:
    future = failed(session, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        future.result()
    assert isinstance(future.result(raise_on_failure=False), ValueError)


def test_row_51_wait_returns_the_state_and_none_after_a_timeout(session: LoopbackSession) -> None:
    assert future_of(session).wait(timeout=0) is None
    state = settled(session, 1).wait(timeout=0)
    assert state is not None
    assert state.is_completed()


def test_row_52_callbacks_run_when_settled_or_at_once(session: LoopbackSession) -> None:
    future, called, event = future_of(session), list[tuple[Future[int], str]](), threading.Event()

    def note(done: Future[int]) -> None:
        called.append((done, threading.current_thread().name))
        event.set()

    future.add_done_callback(note)
    assert called == []
    future.settle(pickling.dumps(1))
    assert event.wait(30)
    assert called == [(future, "taskyard-callbacks")], "not on the loop's thread, which they could block"
    future.add_done_callback(note)
    assert called[1:] == [(future, threading.current_thread().name)]


def test_a_raising_callback_does_not_stop_the_others(
    session: LoopbackSession, caplog: pytest.LogCaptureFixture
) -> None:
    future, called = future_of(session), threading.Event()

    def bad(_: Future[int]) -> None:
        raise RuntimeError("callback")

    future.add_done_callback(bad)
    future.add_done_callback(lambda _: called.set())
    future.settle(pickling.dumps(1))
    assert called.wait(30)


def test_row_52_an_unknown_run_reads_as_pending(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_run(run_id: bytes) -> None:
        raise RunNotFound("not there yet")

    monkeypatch.setattr(session.stored, "get_run", get_run, raising=False)
    future = future_of(session)
    assert future.state.is_pending()
    assert future.state.state_details.task_run_id == future.task_run_id, "what is given it waits for the run"


def test_a_waiting_thread_is_woken(session: LoopbackSession) -> None:
    future, results = future_of(session), list[int]()
    waiter = threading.Thread(target=lambda: results.append(future.result(5)))
    waiter.start()
    future.settle(pickling.dumps(7))
    waiter.join(30)
    assert results == [7]


def test_waiting_in_vain_leaves_nothing_behind(session: LoopbackSession) -> None:
    future = future_of(session)
    for _ in range(3):
        assert future.wait(0) is None
    assert not future._callbacks


def test_futures_can_be_awaited(session: LoopbackSession) -> None:
    future = future_of(session)

    async def main() -> tuple[int, list[int]]:
        asyncio.get_running_loop().call_soon(future.settle, pickling.dumps(3))
        return await future, await FutureList([future, future])

    assert asyncio.run(main()) == (3, [3, 3])


def test_awaiting_has_a_timeout(session: LoopbackSession) -> None:
    with pytest.raises(TimeoutError, match="did not complete within 0 seconds"):
        asyncio.run(future_of(session).aresult(timeout=0))


def test_an_awaited_list_says_which_timeout_passed(session: LoopbackSession) -> None:
    with pytest.raises(TimeoutError, match="all futures to complete within 0 seconds"):
        asyncio.run(FutureList([future_of(session)]).aresult(timeout=0))


def test_row_54_a_list_keeps_its_order_and_fails_on_a_failure(session: LoopbackSession) -> None:
    good, bad = settled(session, 1), failed(session, KeyError("k"))
    assert FutureList([good, settled(session, 2)]).result() == [1, 2]
    with pytest.raises(KeyError):
        FutureList([good, bad]).result()
    values = FutureList([good, bad]).result(raise_on_failure=False)
    assert [type(value) for value in values] == [int, KeyError]


def test_row_54_a_list_times_out_as_a_whole(session: LoopbackSession) -> None:
    futures = FutureList([settled(session, 1), future_of(session)])
    with pytest.raises(TimeoutError, match="Timed out waiting for all futures to complete within 0 seconds"):
        futures.result(timeout=0)
    futures.wait(timeout=0)


def test_row_55_wait_divides_and_collapses_duplicates(session: LoopbackSession) -> None:
    done, open_one = settled(session, 1), future_of(session)
    result = wait([done, open_one, done], timeout=0)
    assert result.done == {done}
    assert result.not_done == {open_one}


def test_row_55_a_negative_timeout_is_refused(session: LoopbackSession) -> None:
    with pytest.raises(ValueError, match="negative"):
        wait([settled(session, 1)], timeout=-1)
    with pytest.raises(ValueError, match="negative"):
        as_completed([settled(session, 1)], timeout=-1)


def test_row_55_as_completed_yields_ended_ones_first(session: LoopbackSession) -> None:
    late, early = future_of(session), settled(session, 1)
    arrivals = as_completed([late, early, early])
    assert next(arrivals) is early
    late.settle(pickling.dumps(2))
    assert next(arrivals) is late
    assert list(arrivals) == []


def test_row_55_as_completed_counts_what_is_unfinished(session: LoopbackSession) -> None:
    open_ones = [future_of(session), future_of(session)]
    with pytest.raises(TimeoutError) as caught:
        list(as_completed([settled(session, 1), *open_ones], timeout=0))
    assert str(caught.value) == "2 (of 3) futures unfinished"
    assert not any(future._callbacks for future in open_ones)


def test_row_56_pickled_as_an_argument_a_future_is_a_reference(session: LoopbackSession) -> None:
    future = future_of(session)
    with references.collecting() as collected:
        data = pickle.dumps({"deep": [future]})
    assert collected == {future.run_id: UpstreamKind.DATA}
    with references.resolving({future.run_id: "value"}):
        assert pickle.loads(data) == {"deep": ["value"]}


def test_a_list_of_futures_becomes_a_plain_list(session: LoopbackSession) -> None:
    future = future_of(session)
    with references.collecting():
        data = pickle.dumps(FutureList([future]))
    with references.resolving({future.run_id: 1}):
        assert type(pickle.loads(data)) is list


def test_elsewhere_a_future_cannot_be_pickled(session: LoopbackSession) -> None:
    with pytest.raises(TypeError, match=r"call \.result\(\)"):
        pickle.dumps(future_of(session))


def test_futures_of_one_run_are_equal(session: LoopbackSession) -> None:
    future = future_of(session)
    same = Future[int](future.run_id, session.scope())
    assert future == same
    assert len({future, same}) == 1
    assert future != future_of(session)
    assert isinstance(future.task_run_id, UUID)


def test_row_59_the_truth_of_a_future_is_a_mistake(session: LoopbackSession) -> None:
    with pytest.warns(UserWarning, match="always true"):
        assert future_of(session)


def test_a_large_result_is_fetched_when_asked_for(session: LoopbackSession) -> None:
    ref = session.blobs.put(pickling.dumps("large"))
    future = future_of(session)
    payload = common_pb2.Payload(encoding=pickling.ENCODING, blob=ref)
    future.settle(pb.RunOutcome(run_id=future.run_id, state=RunState.COMPLETED, result=payload))
    assert future.result() == "large"
    assert asyncio.run(future.aresult()) == "large"  # type: ignore[comparison-overlap]


def test_row_54_the_names_of_ported_programs_mean_the_one_class() -> None:
    for name in ("PrefectFuture", "TaskyardFuture", "TaskyardConcurrentFuture", "TaskyardTaskRunFuture"):
        assert getattr(futures, name) is Future
    for name in ("PrefectFutureList", "TaskyardFutureList"):
        assert getattr(futures, name) is FutureList
    assert futures.PrefectDistributedFuture is futures.TaskyardDistributedFuture
    assert futures.DoneAndNotDoneFutures is futures.DoneAndNotDone
    for kind in (futures.TaskyardDistributedFuture, futures.TaskyardFlowRunFuture):
        assert issubclass(kind, Future)
        assert kind.__module__ == "taskyard.futures"


def test_row_51_waiting_in_a_loop_returns_the_state_and_none_after_a_timeout(
    session: LoopbackSession,
) -> None:
    async def main() -> tuple[bool, object, int]:
        state = await settled(session, 1).wait_async(timeout=0)
        return (
            state is not None and state.is_completed(),
            await future_of(session).wait_async(timeout=0),
            await settled(session, 2).result_async(),
        )

    assert asyncio.run(main()) == (True, None, 2)


def test_row_56_futures_in_values_are_resolved_to_states_and_results(session: LoopbackSession) -> None:
    good, bad = settled(session, 1), failed(session, ValueError("no"))
    states = resolve_futures_to_states({"a": [good, (bad, "x")], "b": unmapped(good), "c": quote(bad)})
    assert [state.name for state in (states["a"][0], states["a"][1][0], states["b"].value)] == [
        "Completed",
        "Failed",
        "Completed",
    ]
    assert (states["a"][1][1], states["c"].value) == ("x", bad)
    assert resolve_futures_to_results([good, {"b": (good,)}, opaque(good)]) == [1, {"b": (1,)}, opaque(1)]
    value = [1, {"b": quote(2)}]
    assert resolve_futures_to_results(value) is value
    with pytest.raises(UpstreamTaskError, match="no"):
        resolve_futures_to_results([good, bad])
