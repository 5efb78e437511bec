"""Asynchronous user code in synchronous surroundings: task functions, hooks, conditions.

A loop is kept for each thread, because making one costs 100 us, more than most tasks. It belongs to the
process that made it: a forked child shares its descriptors with the parent, so it neither uses nor closes it.
"""

import atexit
import contextvars
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from taskyard._engine.execution.interrupts import run_interruptibly

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
LAZY: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
"""What calling a function may give instead of executing it."""


class _OwnRunner:
    """An event loop that is closed with the thread it belongs to."""

    def __init__(self) -> None:
        import asyncio  # programs without asynchronous code need not wait for it, here and below

        self.runner = asyncio.Runner()
        self.pid = os.getpid()

    def close(self) -> None:
        # A forked child shares the loop's descriptors with its parent, which still needs them.
        if self.pid == os.getpid():
            self.runner.close()

    def __del__(self) -> None:
        self.close()


class _Runners(threading.local):
    """The loop of each thread."""

    own: _OwnRunner | None = None


_runners = _Runners()
MOST_BESIDE: Final = 1000
"""Threads that hooks and the like of runs in one loop may have."""
_pool: "tuple[int, ThreadPoolExecutor] | None" = None
_shared_loop: Final[ContextVar["AbstractEventLoop | None"]] = ContextVar("taskyard_shared_loop", default=None)


def run_coroutine(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this thread's own loop, in the current context."""
    own = _runners.own
    if own is None or own.pid != os.getpid():
        own = _runners.own = _OwnRunner()
    return run_interruptibly(partial(own.runner.run, context=contextvars.copy_context()), work)


async def called_beside(call: Callable[[], T]) -> T:
    """Call what belongs to a run and may wait, such as hooks, in a thread: the loop goes on with other runs.

    What of it is asynchronous is executed in the loop all the same: connections and locks belong to that.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    _shared_loop.set(loop)
    context = contextvars.copy_context()
    return await loop.run_in_executor(_threads(), context.run, call)


def _threads() -> "ThreadPoolExecutor":
    """Return threads of which there are as many as wait: one of them may wait for what another one does."""
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        from concurrent.futures import ThreadPoolExecutor

        _pool = os.getpid(), ThreadPoolExecutor(MOST_BESIDE, thread_name_prefix="taskyard-hook")
    return _pool[1]


def run_beside_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; where a loop runs already, which could not, in another thread."""
    import asyncio

    shared = _shared_loop.get()
    if shared is not None and shared.is_running() and asyncio._get_running_loop() is None:
        return asyncio.run_coroutine_threadsafe(work, shared).result()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_coroutine(work)
    from concurrent.futures import ThreadPoolExecutor

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="taskyard-hook") as thread:
        return thread.submit(lambda: context.run(asyncio.run, work)).result()


def close_runner() -> None:
    """Close this thread's loop, if it has one; a later coroutine gets a new one."""
    own, _runners.own = _runners.own, None
    if own is not None:  # a failure's traceback may hold it for longer
        own.close()


atexit.register(close_runner)


def called(call: Callable[[], Any]) -> Any:
    """Call something that may be async."""
    value = call()
    return run_beside_loop(value) if inspect.iscoroutine(value) else value


async def awaited(value: Any) -> Any:
    """Execute the same in the loop that is running."""
    if isinstance(value, CoroutineType):
        return await value
    return list(value) if isinstance(value, GeneratorType) else await _collected(value)


def executed(value: Any) -> Any:
    """Execute what calling a coroutine function or a generator function only prepares."""
    if isinstance(value, CoroutineType):
        return run_coroutine(value)
    return list(value) if isinstance(value, GeneratorType) else run_coroutine(_collected(value))


async def _collected(values: AsyncGeneratorType[Any, Any]) -> list[Any]:
    return [value async for value in values]
