"""Whoever waits gives way meanwhile, and leaves nothing behind."""

import asyncio
import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.loopback import LoopbackSession

from taskyard.futures import Future, as_completed, wait
from taskyard_contract import pickling
from taskyard_contract.id_factory import new_id


class Host:
    """Counts how often it is told that its code waits."""

    def __init__(self) -> None:
        self.times = 0
        self.waiting = threading.Event()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        self.times += 1
        self.waiting.set()
        yield


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def future(session: LoopbackSession, host: Host) -> Future[int]:
    return Future(new_id(), session.scope(host=host))


def test_a_thread_that_waits_gives_way(future: Future[int], host: Host) -> None:
    assert future.wait(0.01) is None
    assert host.times == 1


def test_a_coroutine_that_waits_gives_way_and_leaves_nothing_behind(future: Future[int], host: Host) -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(future.aresult(0.01))
    assert (host.times, future._callbacks) == (1, [])


def test_those_who_are_woken_may_watch_others(future: Future[int], session: LoopbackSession) -> None:
    other: Future[int] = Future(new_id(), session.scope())
    woken: list[str] = []

    def look() -> None:
        other.when_settled(lambda: woken.append("other"))
        woken.append("first")

    future.when_settled(look)
    thread = threading.Thread(target=future.settle, args=(b"",), daemon=True)
    thread.start()
    thread.join(30)
    other.settle(b"")
    assert woken == ["first", "other"], "or the lock over the callbacks was held while they were called"


def test_what_has_ended_stays_as_it_ended(future: Future[int]) -> None:
    future.settle(b"first")
    future.settle(b"second")
    assert future.outcome == b"first"


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize(
    "waiting", [lambda of: of.result(), lambda of: wait([of]), lambda of: list(as_completed([of]))]
)
def test_a_thread_that_waits_can_be_interrupted(
    waiting: Callable[[Future[int]], object], future: Future[int], host: Host
) -> None:
    ended: list[type[BaseException]] = []

    def serve() -> None:
        try:
            waiting(future)
        except Interrupted:
            ended.append(Interrupted)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert host.waiting.wait(30)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted)
    )
    thread.join(30)
    assert (ended, future._callbacks) == ([Interrupted], [])


@pytest.mark.parametrize("timeout", [float("inf"), 1e12])
@pytest.mark.parametrize(
    "waiting",
    [
        lambda of, timeout: of.result(timeout),
        lambda of, timeout: wait([of], timeout).done.pop().result(),
        lambda of, timeout: next(as_completed([of], timeout)).result(),
    ],
)
def test_a_timeout_may_be_longer_than_any_clock(
    waiting: Callable[[Future[int], float], int], timeout: float, future: Future[int]
) -> None:
    threading.Timer(0.05, future.settle, (pickling.dumps(7),)).start()
    assert waiting(future, timeout) == 7
