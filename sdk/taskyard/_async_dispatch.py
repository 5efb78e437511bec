"""Methods that block, and return an awaitable instead where the code around them is asynchronous."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, cast

from taskyard.context import FlowRunContext, TaskRunContext, current_context

T = TypeVar("T")


def dispatched(call: Callable[[], T]) -> T:
    """Make a blocking call here; in asynchronous code return an awaitable of it, which makes it in a thread.

    Type checkers are told of the former: asynchronous code has methods with names of their own.
    """
    return cast(T, asyncio.to_thread(call)) if is_asynchronous() else call()


def is_asynchronous() -> bool:
    """Say whether the code around can await: a loop runs here, and not below a run whose function cannot.

    A flow that is not asynchronous runs on the thread of a loop where asynchronous code calls it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    context = current_context()
    # Of a run whose context was taken along into this process the function is not known.
    if isinstance(context, TaskRunContext):
        return context.task is None or bool(context.task.isasync)
    if isinstance(context, FlowRunContext):
        return context.flow is None or bool(context.flow.isasync)
    return True
