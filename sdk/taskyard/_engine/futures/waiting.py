"""Waiting for futures, in threads and in event loops.

Invariant: whoever stops waiting takes its callback back, so that waiting with a timeout in a loop does not
grow the future.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from taskyard._data.values.awaited import AwaitedRun, Host, Origin
from taskyard._data.values.waits import WAITS, waiting_for
from taskyard.context import current_context

F = TypeVar("F", bound=AwaitedRun)
T = TypeVar("T")

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
        WAITS[lock] = (future,), current_context()
        with host.blocked() if host is not None else nullcontext():
            return _in_time(lambda left: lock.acquire(timeout=left) or None, timeout) or future.done()
    finally:
        WAITS.pop(lock, None)
        future.forget(lock.release)


def _in_time(attempt: Callable[[float], T | None], timeout: float | None) -> T | None:
    """Wait by `attempt`, which takes the seconds it may block, so that this thread can still be interrupted.

    Exceptions from outside come between bytecodes, so it looks up now and then. The main thread does too:
    signals wake it, but a flow that is called by another one in it is not stopped by a signal. What blocks
    must be one call into C, or an exception in it would leave something locked.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
        found = attempt(max(left, 0))
        if found is not None:
            return found
        if deadline is not None and time.monotonic() >= deadline:
            return None


def wait_again(again: AwaitedRun, seconds: float) -> bool:
    """Block this thread until an outcome has come again; says whether it was in time.

    Its run has ended: nobody needs to hear why it waits, nor to have the place of whoever asks.
    """
    lock = threading.Lock()
    lock.acquire()
    again.when_settled(lock.release)
    try:
        return _in_time(lambda left: lock.acquire(timeout=left) or None, seconds) or again.done()
    finally:
        again.forget(lock.release)


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
        WAITS[settled] = (future,), current_context()
        async with asyncio.timeout(timeout):
            with awaiting(host) if host is not None else nullcontext():
                await settled.wait()
    except TimeoutError:
        return future.done()
    finally:
        WAITS.pop(settled, None)
        if not settled.is_set():
            future.forget(wake)
    return True


def awaiting(host: Host) -> AbstractContextManager[None]:
    """Say that code waits for other runs and lets its loop go round: what shares that is not held up."""
    say: Callable[[], AbstractContextManager[None]] = getattr(host, "awaiting", host.blocked)
    return say()


def waker(loop: Any, callback: Callable[[], None]) -> Callable[[], None]:
    """Return what calls `callback` on a loop, from any thread, even if the loop has been closed since."""

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    return wake


class Arrivals(Generic[F]):
    """Futures in the order in which they are settled, for those who wait for many.

    Whoever has taken one is the only one that holds it: what was consumed can go.
    """

    def __init__(self, futures: Iterable[F]) -> None:
        """Watch some runs, each once; `close` has to follow, or they would go on putting themselves here."""
        self._settled: SimpleQueue[F] = SimpleQueue()
        self._left: dict[bytes, F] = {}
        hosts = set()
        for future in futures:
            if self._left.setdefault(future.run_id, future) is future:
                hosts.add(future.origin.host)
        for future in self._left.values():
            future.when_settled(self._settled)
        self._hosts = [host for host in hosts if host is not None]

    def __len__(self) -> int:
        """Return how many have not been taken."""
        return len(self._left)

    def next(self, timeout: float | None) -> F | None:
        """Take the next settled future, or None if there is none in time.

        Whoever has to wait lets other runs have its place meanwhile.
        """
        found = self._arrived(0)
        if found is None:
            found = self._wait(timeout)
        if found is not None:
            del self._left[found.run_id]
        return found

    def _wait(self, timeout: float | None) -> F | None:
        with ExitStack() as stack:
            for host in self._hosts:
                stack.enter_context(host.blocked())
            try:
                WAITS[self] = self._left.values(), current_context()
                return _in_time(self._arrived, timeout)
            finally:
                WAITS.pop(self, None)

    def _arrived(self, seconds: float) -> F | None:
        try:
            return self._settled.get(timeout=seconds)
        except Empty:
            return None

    def close(self) -> None:
        """Watch no more the runs that have not ended."""
        for future in self._left.values():
            future.forget(self._settled)


def wait_for_all_inside(scope: Origin) -> None:
    """Wait until every run that was submitted from a scope has ended, however it ended."""
    while open_futures := scope.open_futures():
        with waiting_for(open_futures, current_context()):
            for future in open_futures:
                wait_blocking(future, None)


async def wait_for_all_inside_async(scope: Origin) -> None:
    """Wait without blocking the event loop until every run that was submitted from a scope has ended."""
    while open_futures := scope.open_futures():
        with waiting_for(open_futures, current_context()):
            for future in open_futures:
                await wait_async(future, None)
