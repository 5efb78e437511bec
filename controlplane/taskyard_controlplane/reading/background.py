"""Blocking work of the unary services, kept off the owner's event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from taskyard_contract.errors import ServerStopping

RETRY_SECONDS: Final = 1.0
"""By then another server may answer."""

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """Runs blocking reads on a few threads, so that a slow listing delays nobody but other listings."""

    def __init__(self, executor: Executor) -> None:
        """Use an executor whose threads belong to readers."""
        self._executor = executor

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function and wait for what it returns.

        Raises:
            ServerStopping: This server ends, and its threads have; calls that it cut off get here.
        """
        loop = asyncio.get_running_loop()
        try:
            called = loop.run_in_executor(self._executor, partial(function, *args, **kwargs))
        except RuntimeError:
            raise ServerStopping("the server is stopping", retry_after=RETRY_SECONDS) from None
        return await called

    def soon(self, function: Callable[[], object]) -> None:
        """Have a blocking function called and wait for nothing; at once if the threads end or have ended."""
        try:
            called = self._executor.submit(function)
        except RuntimeError:
            function()
        else:
            called.add_done_callback(lambda ended: function() if ended.cancelled() else None)
