"""Streams of a server that go on where they were when a connection is lost.

Each message has a token. Whoever lost the connection goes on with the last one, at the server that is there
then; when the server cannot go on from it any more, from the beginning. A server says something now and then
even if it has nothing to tell, so that one that says nothing is gone. Proxies end streams that are old or
quiet by resetting them, which gRPC calls CANCELLED or INTERNAL: from a server these would come with a detail.

What follows is a coroutine on the loop thread. `in_this_thread` is its face for synchronous code.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from itertools import chain, repeat
from typing import Any, Final, TypeVar

from taskyard._network.server.loop_thread import loop_thread
from taskyard_contract.errors import ConnectionFailed, Overloaded, TaskyardError, WatchExpired
from taskyard_contract.transport.repeating import FIRST_DELAYS, LONGEST_DELAY, PASSING, PATIENCE_SECONDS

M = TypeVar("M")

SILENCE_SECONDS: Final = 45.0
"""A server that lives says something three times in so long."""
WORKED_SECONDS: Final = 1.0
"""After a stream that lasted so long it is begun at once again, and not later and later."""
_END: Final = object()


async def followed(
    call: Callable[[str], Any],
    token_of: Callable[[M], str],
    *,
    patient: bool = False,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[M, None]:
    """Iterate over the messages of a stream until it ends; several streams, if the connection is lost.

    Args:
        call: Opens the stream that goes on after a token.
        token_of: Returns the token of a message.
        patient: Whether to wait for a server that cannot be reached in the beginning. People who ask want to
            know at once that nobody answers; programs want to go on.
        clock: Returns seconds that never jump.
        pause: Waits for some seconds.

    Raises:
        TaskyardError: The server refuses it, cannot be reached in the beginning, or stays unreachable.
        Overloaded: Too many follow something already.
    """
    token, heard, begun = "", patient, False
    delays, until = chain(FIRST_DELAYS, repeat(LONGEST_DELAY)), 0.0
    begun_again = chain(FIRST_DELAYS, repeat(LONGEST_DELAY))
    while True:
        opened_at = clock()
        try:
            async with aclosing(messages_of(call, token)) as messages:
                async for message in messages:
                    heard, begun, until = True, True, 0.0
                    token = token_of(message)
                    yield message
        except WatchExpired:
            if not token:
                raise  # not even the beginning arrived in time
            token = ""
            await pause(next(begun_again))  # who cannot keep up makes it no better by listing all the time
            continue
        except (*PASSING, Overloaded) as error:
            if not heard or (not begun and isinstance(error, Overloaded)):
                raise
            if clock() - opened_at >= WORKED_SECONDS:
                delays = chain(FIRST_DELAYS, repeat(LONGEST_DELAY))
            until = until or clock() + PATIENCE_SECONDS
            if clock() >= until:
                raise
            await pause(error.retry_after or next(delays))
            continue
        return


def in_this_thread(messages: AsyncGenerator[M, None]) -> Iterator[M]:
    """Iterate, in a thread that may block, over what is followed on the loop thread."""

    async def following() -> Any:
        return await anext(messages, _END)

    # Whoever is interrupted while waiting has cancelled what followed, and so ended it.
    while (message := loop_thread.run(following())) is not _END:
        try:
            yield message
        except BaseException:  # whoever iterated has left
            loop_thread.let_go(messages.aclose)
            raise


async def messages_of(call: Callable[[str], Any], token: str) -> AsyncGenerator[Any, None]:
    """Iterate over the messages of one stream."""
    import grpc.aio

    stream = call(token)
    try:
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await stream.read()
            except grpc.aio.AioRpcError as error:
                raise _told(error) from None
            except TimeoutError:
                raise ConnectionFailed(f"the server said nothing for {SILENCE_SECONDS:g} seconds") from None
            if message is grpc.aio.EOF:
                await _ended(stream)
                return
            yield message
    finally:
        stream.cancel()


async def _ended(stream: Any) -> None:
    """Raise what the stream ended with, if that was an error."""
    import grpc.aio

    code = await stream.code()
    if code is not grpc.StatusCode.OK:
        details, trailing = await stream.details(), await stream.trailing_metadata()
        error = grpc.aio.AioRpcError(code, await stream.initial_metadata(), trailing, details)
        raise _told(error)


def _told(error: Any) -> TaskyardError:
    from taskyard_contract.transport.rpc_errors import from_rpc_error, was_reset

    if was_reset(error):
        return ConnectionFailed(
            f"the stream was ended on its way ({error.code().name.lower()}: {error.details()})"
        )
    told = from_rpc_error(error)
    if isinstance(told, ConnectionFailed):
        told.args = (f"{told}; is a server running at this address?",)
    return told
