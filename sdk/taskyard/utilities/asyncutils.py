"""Asynchronous code beside synchronous code.

Sync and async tasks and flows may call each other without any of this: it is for the programs' own functions.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from taskyard._engine.execution.coroutines import run_beside_loop
from taskyard._missing_features import absent_names

__all__ = [
    "asyncnullcontext",
    "gather",
    "in_async_main_thread",
    "is_async_fn",
    "is_async_gen_fn",
    "run_coro_as_sync",
    "run_sync_in_worker_thread",
    "sync_compatible",
]

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def asyncnullcontext(value: Any = None, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    """Do nothing at the beginning and the end of an ``async with`` block, which gets `value`."""
    yield value


def _inner(func: Callable[..., Any]) -> Callable[..., Any]:
    while True:
        if isinstance(func, partial):
            func = func.func
        elif hasattr(func, "__wrapped__"):
            func = func.__wrapped__
        else:
            return func


def is_async_fn(func: Callable[..., Any]) -> bool:
    """Say whether a function, below decorators and partial calls, was written with ``async def``."""
    return inspect.iscoroutinefunction(_inner(func))


def is_async_gen_fn(func: Callable[..., Any]) -> bool:
    """Say whether a function, below decorators and partial calls, is an asynchronous generator."""
    return inspect.isasyncgenfunction(_inner(func))


def in_async_main_thread() -> bool:
    """Say whether an event loop is running in this thread, so that this code must not block."""
    return asyncio._get_running_loop() is not None


def run_coro_as_sync(coroutine: Awaitable[T]) -> T:
    """Run a coroutine to its end and return its value, wherever this is called.

    Where an event loop is running it runs in another thread and blocks this loop meanwhile: `await` it there.

    Args:
        coroutine: What ``async def`` functions return, or anything that can be awaited.
    """
    return run_beside_loop(_awaited(coroutine))


async def _awaited(work: Awaitable[T]) -> T:
    return await work


async def run_sync_in_worker_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that blocks in a thread, while the event loop goes on. Its run, tags and other context
    variables are those of the caller.

    Args:
        fn: The function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
    """
    return await asyncio.to_thread(fn, *args, **kwargs)


def sync_compatible(async_fn: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Any]:
    """Make a function of ``async def`` one that can be called anywhere.

    Where an event loop is running, calling it returns a coroutine to be awaited; elsewhere its value. `_sync`
    in the call decides otherwise. The function itself stays as ``.aio``.

    Args:
        async_fn: The function.

    Raises:
        TypeError: It is no such function.
    """
    if not is_async_fn(async_fn):
        raise TypeError("The decorated function must be async.")

    @wraps(async_fn)
    def call(*args: Any, _sync: bool | None = None, **kwargs: Any) -> Any:
        coroutine = async_fn(*args, **kwargs)
        if _sync is None:
            _sync = not in_async_main_thread()
        return run_beside_loop(coroutine) if _sync else coroutine

    call.aio = async_fn  # type: ignore[attr-defined]  # as functions may have
    return cast("Callable[P, Any]", call)


async def gather(*calls: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Call several functions of ``async def`` and run them at once; if one raises, the others are cancelled.

    Args:
        *calls: The functions, which take no arguments.

    Returns:
        Their values in order.

    Raises:
        ExceptionGroup: What some of them raised.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call()) for call in calls]
    return [task.result() for task in tasks]


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
