"""Hooks of transactions, and what of a transaction has to wait, called from ordinary code and from loops.

Invariant: an event loop goes on while a transaction of its commits or rolls back, and what is asynchronous
of that is executed in this very loop: connections and locks belong to it.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")
_loop: Final[ContextVar["asyncio.AbstractEventLoop | None"]] = ContextVar(
    "taskyard_transaction_loop", default=None
)


def name_of(hook: Callable[..., Any]) -> str:
    """Return what people call a hook; nothing of what it was made with, which may be long or secret."""
    while isinstance(hook, partial):
        hook = hook.func
    return str(getattr(hook, "__name__", None) or type(hook).__name__)


def called(hook: Callable[..., Any], transaction: object) -> None:
    """Call a hook, which may be asynchronous, and wait for its end."""
    value = hook(transaction)
    if not inspect.iscoroutine(value):
        return
    if _running_loop() is None:
        shared = _loop.get()
        if shared is not None and shared.is_running():
            asyncio.run_coroutine_threadsafe(value, shared).result()
        else:
            asyncio.run(value)
        return
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="taskyard-hook") as thread:  # a loop runs in this one
        thread.submit(context.run, asyncio.run, value).result()


def _running_loop() -> object:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def beside(call: Callable[[], T]) -> T:
    """Call what may wait in a thread. It is not left alone when the waiting code is cancelled."""
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    context.run(_loop.set, loop)
    # The loop's own threads are few, and hooks that are asynchronous may need them.
    thread = ThreadPoolExecutor(1, thread_name_prefix="taskyard-transaction")
    work = loop.run_in_executor(thread, context.run, call)
    thread.shutdown(wait=False)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):  # once more: it is raised below
                await asyncio.wait({work})
        raise
