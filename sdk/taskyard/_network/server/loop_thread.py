"""The private thread on which all network work of this process happens.

Invariant: grpc.aio objects are made, used and closed on this thread's loop and nowhere else. The loop
starts with the first use, so that importing the SDK costs nothing. Threads, and gRPC, do not survive a fork:
the child of a process that had started its loop gets an error instead of a crash, and destroys nothing that
its parent left.
"""

import atexit
import concurrent.futures.thread  # noqa: F401  # cannot be imported any more once the main thread has ended
import gc
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from taskyard_contract.errors import ConnectionFailed
from taskyard_contract.programs.event_loops import new_event_loop

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

STOP_SECONDS: Final = 2.0
"""How long the loop may take to end what it is at; the daemon thread dies with the process anyway."""


class LoopThread:
    """A thread with an event loop, started when first needed."""

    def __init__(self) -> None:
        """Prepare the thread; it is started by the first use."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._inherited: asyncio.AbstractEventLoop | None = None

    def loop(self) -> "asyncio.AbstractEventLoop":
        """Return the running loop, starting its thread if necessary.

        Raises:
            ConnectionFailed: This process was forked from one that had started it, or ends and can start
                no thread any more.
        """
        loop = self._loop
        return loop if loop is not None else self._start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it, from any other thread.

        Raises:
            TimeoutError: It took longer than `timeout` seconds; it has been cancelled.
        """
        import asyncio

        try:
            loop = self.loop()
        except ConnectionFailed:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(timeout)
        except BaseException:  # a timeout, an interrupt, the cancellation of a flow
            future.cancel()
            raise

    def let_go(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have something ended on the loop, if there still is one. From any thread; nobody waits."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(lambda: loop.create_task(end()))

    def let_know(self, call: Callable[[], object]) -> None:
        """Have something called on the loop, if there still is one. From any thread; nobody waits."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        """End the loop and its thread. A later use starts a new one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)

    def forget(self) -> None:
        """Drop a loop that belongs to the parent of this forked process."""
        # The parent's loop is kept: destroying gRPC objects after a fork can crash.
        self._inherited = self._inherited or self._loop
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _start(self) -> "asyncio.AbstractEventLoop":
        if self._inherited is not None:
            raise ConnectionFailed(
                "this process was forked from one that is connected to a control plane, and gRPC does not "
                "survive a fork; start processes with multiprocessing's 'spawn' or 'forkserver' method"
            )
        # gRPC is imported after this. Its own fork handlers do not help with grpc.aio, they only print a
        # line to standard error for every subprocess.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        with self._lock:
            if self._loop is None:
                loop = new_event_loop()
                thread = threading.Thread(target=_run_loop, args=(loop,), name="taskyard-loop", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    loop.close()
                    raise ConnectionFailed(
                        f"this process cannot connect to a control plane ({error}); when its main thread has "
                        "ended it is too late for the first call of a task or flow"
                    ) from None
                self._loop, self._thread = loop, thread
            return self._loop


def _run_loop(loop: "asyncio.AbstractEventLoop") -> None:
    import asyncio

    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        _cancel_tasks(loop)
    finally:
        loop.close()


def _cancel_tasks(loop: "asyncio.AbstractEventLoop") -> None:
    """End what still runs, so that nothing is garbage-collected while pending."""
    import asyncio

    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


loop_thread = LoopThread()
_before_exit: list[Callable[[], None]] = []


def at_exit(callback: Callable[[], None]) -> None:
    """Call `callback` before the loop thread stops at the end of the process."""
    _before_exit.append(callback)


def not_at_exit(callback: Callable[[], None]) -> None:
    """Take back an `at_exit`: what it was for has ended before the process."""
    if callback in _before_exit:
        _before_exit.remove(callback)


def _exit() -> None:
    try:
        # Taken out one by one, because some take others back.
        while _before_exit:
            _before_exit.pop()()
    finally:
        loop_thread.stop()


class _Forking(threading.local):
    """Keeps the collector of garbage from a forked child until it leaves alone what its parent left.

    That may hold gRPC objects, and destroying one in the child can wait for a thread of the parent for ever,
    or crash. What Python itself does after a fork makes objects, so the collector could begin before any of
    our code does.
    """

    _collects = False

    def begin(self) -> None:
        self._collects = gc.isenabled()
        gc.disable()

    def end(self) -> None:
        if self._collects:
            gc.enable()

    def end_in_child(self) -> None:
        gc.freeze()
        loop_thread.forget()
        _before_exit.clear()
        self.end()


_forking: Final = _Forking()
atexit.register(_exit)
os.register_at_fork(before=_forking.begin, after_in_parent=_forking.end, after_in_child=_forking.end_in_child)
