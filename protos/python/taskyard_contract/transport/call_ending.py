"""Why a call has ended, as its server said it.

gRPC forgets that when the end of a call meets a message that is being written: the write fails, and all that
the call tells from then on is an internal error. A peer that was told to stay away would take this for a lost
connection and come back.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import grpc
from grpc import aio

T = TypeVar("T")

STATUS_SECONDS: Final = 5.0
"""How long the status of a call may take whose stream has ended: it has come already, or is about to."""
_FORGETTING: Final = "Internal error from Core"
"""The text with which gRPC replaces the status of a call that could not be written to."""


class CallEnding:
    """What a call is told about its end; made together with the call, or it could come too late."""

    def __init__(self, call: aio.Call) -> None:
        """Listen for the end of a call."""
        self._status: asyncio.Future[aio.AioRpcError] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._take)

    def _take(self, call: Any) -> None:
        """Keep the status; called for each that the call has, in the moment in which it has it."""
        status = _at_once(status_of(call))
        if not self._status.done() and not _is_forgetting(status):
            self._status.set_result(status)

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled; gRPC forgets that as well."""
        return self._status.done() and self._status.result().code() is grpc.StatusCode.CANCELLED

    async def cause_of(self, error: aio.AioRpcError) -> aio.AioRpcError:
        """Return the server's status, when gRPC has raised an error in its place; else the error."""
        if _is_forgetting(error):
            with suppress(TimeoutError):
                async with asyncio.timeout(STATUS_SECONDS):
                    status = await self._status
                return status if status.code() is not grpc.StatusCode.OK else error
        return error


def _is_forgetting(status: aio.AioRpcError) -> bool:
    return status.code() is grpc.StatusCode.INTERNAL and status.details() == _FORGETTING


async def status_of(call: Any) -> aio.AioRpcError:
    """Return the status of a call, as an exception, once it has ended."""
    code = await call.code()
    initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    return aio.AioRpcError(code, initial, trailing, await call.details())


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("there is something to wait for")
