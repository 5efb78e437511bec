"""A poll waits for something to say, and never longer than its lease and its deadline allow."""

import time
from collections.abc import Callable
from typing import Any

from support.poller import LONG_MS, SHORT_LEASE, Poller, answer

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import run_service_pb2
from taskyard_contract.states import RunState


def test_an_assignment_ends_the_wait_at_once(served: Any, poller: Poller) -> None:
    waiting = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    started = time.monotonic()
    [run_id] = served.submit()
    assert [chunk.run_ids for chunk in answer(waiting).chunks] == [run_id]
    assert time.monotonic() - started < LONG_MS / 2000


def test_an_empty_wait_ends_when_it_was_told_to(poller: Poller) -> None:
    started = time.monotonic()
    assert poller.poll(2, wait_ms=300) == pb.PollResponse()
    assert 0.3 <= time.monotonic() - started < 5


def test_a_repeat_may_shorten_the_wait(poller: Poller) -> None:
    first = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    started = time.monotonic()
    assert poller.poll(2, wait_ms=0) == answer(first) == pb.PollResponse()
    assert time.monotonic() - started < LONG_MS / 2000


def test_a_wait_ends_before_the_deadline_of_the_call(poller: Poller) -> None:
    assert poller.poll(2, wait_ms=60_000, timeout=1) == pb.PollResponse()


def test_a_wait_ends_before_the_lease(serve: Callable[..., Any]) -> None:
    poller = Poller(serve(lease=SHORT_LEASE))
    poller.greet()
    started = time.monotonic()
    assert poller.poll(2, wait_ms=60_000) == pb.PollResponse()
    assert time.monotonic() - started < 1.5
    assert poller.poll(3) == pb.PollResponse()


def test_a_cancellation_reaches_an_agent_that_waits(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    waiting = poller.begin(3, wait_ms=LONG_MS)
    served.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run_id), timeout=10)
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    assert list(answer(waiting).cancel) == [key]
    assert list(poller.poll(3, wait_ms=LONG_MS).cancel) == [key]
    poller.report(1, cancelled=[key])
    assert served.get(run_id).state == RunState.CANCELLED


def test_a_stopping_server_says_when_to_come_back(
    serve: Callable[..., Any], run_on_loop: Callable[..., Any]
) -> None:
    served = serve(stop_grace_seconds=10)
    poller = Poller(served)
    poller.greet()
    waiting = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    started = time.monotonic()
    run_on_loop(served.plane.stop())
    assert answer(waiting).reconnect_after_ms > 0
    assert time.monotonic() - started < 5
