"""Unary calls and transfers that are made once more while a server is being replaced.

Streams connect again by themselves (`reconnecting`), so whoever submits or executes runs does not notice a
restart. What is called beside a stream, for a value that is too large for it say, must not be different.

Only for what may be repeated at any time: reading, storing content under its digest, submitting under an id.
Nothing is repeated that the server refuses; what arrived damaged is asked for once more, not for ever.
"""

import time
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import Final, TypeVar

from taskyard_contract.errors import (
    ConnectionFailed,
    DigestMismatch,
    NotOwner,
    Overloaded,
    ServerStopping,
    StorageUnavailable,
    TaskyardError,
)

PASSING: Final = (ConnectionFailed, StorageUnavailable, ServerStopping, DigestMismatch, NotOwner)
"""Errors that another attempt may not meet."""
UPLOADING: Final = (*PASSING, Overloaded)
"""The same of uploads: others may take up all the places there are for a while."""
PATIENCE_SECONDS: Final = 24.0
"""Longer than a control plane takes to restart, shorter than people wait without asking why."""
FIRST_DELAYS: Final = (0.1, 0.3, 1.0, 2.0)
"""Between the first attempts: most of what passes has passed within a second."""
LONGEST_DELAY: Final = 3.0
"""Between all further ones: as late as that a server may be found that is back."""
_HIDDEN: Final = "Internal error from Core"
"""What gRPC says of a call that was refused while a part of it was on its way."""

T = TypeVar("T")


async def repeated(
    call: Callable[[], Awaitable[T]],
    clock: Callable[[], float] = time.monotonic,
    *,
    passing: tuple[type[TaskyardError], ...] = PASSING,
    patience: float = PATIENCE_SECONDS,
    failing: Callable[[TaskyardError], object] = lambda _: None,
) -> T:
    """Make a call, and make it once more as long as what it fails of may pass.

    Args:
        call: Makes the call.
        clock: Returns seconds that never jump.
        passing: Errors that another attempt may not meet.
        patience: For how many seconds after the first failure it is repeated.
        failing: Told of the first failure after which it is.

    Raises:
        TaskyardError: The server refuses it, or stayed unreachable after the first failure.
    """
    # Here, because programs that only import the SDK need neither gRPC nor a loop.
    import asyncio

    from grpc import StatusCode, aio

    from taskyard_contract.transport.rpc_errors import from_rpc_error

    delays, until = chain(FIRST_DELAYS, repeat(LONGEST_DELAY)), None
    damaged = False
    while True:
        hidden = False
        try:
            return await call()
        except aio.AioRpcError as error:
            failure = from_rpc_error(error)
            # The next attempt sees the refusal itself.
            hidden = error.code() is StatusCode.INTERNAL and error.details() == _HIDDEN
        except TaskyardError as error:
            failure = error
        first, until = until is None, clock() + patience if until is None else until
        if clock() >= until or not (hidden or isinstance(failure, passing)):
            raise failure
        if first:
            failing(failure)
        if isinstance(failure, DigestMismatch):
            if damaged:
                raise failure  # not on its way: where it is stored
            damaged = True
        await asyncio.sleep(next(delays))
