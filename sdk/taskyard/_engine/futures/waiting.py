"""Waiting for futures, in threads and in event loops.

Invariant: whoever stops waiting takes its callback back, so that waiting with a timeout in a loop does not
grow the future.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from typing import Any, Final, Generic, TypeVar

from taskyard._data.values.awaited import AwaitedRun, Origin

F = TypeVar("F", bound=AwaitedRun)

SLICE_SECONDS: Final = 0.2
"""How late an exception from outside reaches a thread that waits; five looks a second cost nothing."""


def wait_blocking(future: AwaitedRun, timeout: float | None) -> bool:
    """Block this thread until a run has ended; says whether it was in time."""
    if future.done():
        return True
    host = future.origin.host
    lock = threading.Lock()
    lock.acquire()
    future.when_settled(lock.release)
    try:
        with host.blocked() if host is not None else nullcontext():
            return _acquire(lock, timeout) or future.done()
    finally:
        future.forget(lock.release)


def _acquire(lock: threading.Lock, timeout: float | None) -> bool:
    """Acquire a lock so that this thread can still be interrupted.

    The main thread is woken by signals. Others get exceptions only between bytecodes, so they look up now
    and then.
    """
    if threading.current_thread() is threading.main_thread():
        return lock.acquire(timeout=-1 if timeout is None else max(timeout, 0))
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
        if lock.acquire(timeout=max(left, 0)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


async def wait_async(future: AwaitedRun, timeout: float | None) -> bool:
    """Wait in the running event loop until the future is settled; says whether it was in time."""
    import asyncio

    if future.done():
        return True
    loop = asyncio.get_running_loop()
    settled = asyncio.Event()
    wake = waker(loop, settled.set)
    future.when_settled(wake)
    host = future.origin.host
    try:
        async with asyncio.timeout(timeout):
            with host.blocked() if host is not None else nullcontext():
                await settled.wait()
    except TimeoutError:
        return future.done()
    finally:
        if not settled.is_set():
            future.forget(wake)
    return True


def waker(loop: Any, callback: Callable[[], None]) -> Callable[[], None]:
    """Return what calls `callback` on a loop, from any thread, even if the loop has been closed since."""

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    return wake


class Arrivals(Generic[F]):
    """Futures in the order in which they are settled, for those who wait for many."""

    def __init__(self, futures: Iterable[F]) -> None:
        """Watch some runs; `close` has to follow, or the callbacks would stay with them."""
        futures = list(futures)
        self._hosts = {future.origin.host for future in futures}
        self._settled: deque[F] = deque()
        self._something = threading.Semaphore(0)
        self._callbacks = [(future, self._callback(future)) for future in futures]
        for future, callback in self._callbacks:
            future.when_settled(callback)

    def next(self, timeout: float | None) -> F | None:
        """Return the next settled future, or None if there is none in time.

        Whoever has to wait lets other runs have its place meanwhile.
        """
        if not (self._something.acquire(blocking=False) or self._wait(timeout)):
            return None
        return self._settled.popleft()

    def _wait(self, timeout: float | None) -> bool:
        with ExitStack() as stack:
            for host in self._hosts:
                if host is not None:
                    stack.enter_context(host.blocked())
            return self._something.acquire(timeout=timeout)

    def close(self) -> None:
        """Take the callbacks back from the runs that have not ended."""
        for future, callback in self._callbacks:
            future.forget(callback)

    def _callback(self, future: F) -> Callable[[], None]:
        def arrived() -> None:
            self._settled.append(future)
            self._something.release()

        return arrived


def wait_for_all_inside(scope: Origin) -> None:
    """Wait until every run that was submitted from a scope has ended, however it ended."""
    while open_futures := scope.open_futures():
        for future in open_futures:
            wait_blocking(future, None)


async def wait_for_all_inside_async(scope: Origin) -> None:
    """Wait without blocking the event loop until every run that was submitted from a scope has ended."""
    while open_futures := scope.open_futures():
        for future in open_futures:
            await wait_async(future, None)
