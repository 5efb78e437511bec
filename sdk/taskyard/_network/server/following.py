"""Streams of a server, read by synchronous code, that go on where they were when a connection is lost.

Each message has a token. Whoever lost the connection goes on with the last one, at the server that is there
then; when the server cannot go on from it any more, from the beginning. A server says something now and then
even if it has nothing to tell, so that one that says nothing is gone. Proxies end streams that are old or
quiet by resetting them, which gRPC calls CANCELLED or INTERNAL: from a server these would come with a detail.
"""

import time
from collections.abc import Callable, Iterator
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


def followed(
    call: Callable[[str], Any],
    token_of: Callable[[M], str],
    token: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[M]:
    """Iterate over the messages of a stream until it ends; several streams, if the connection is lost.

    Args:
        call: Opens the stream that goes on after a token, on the loop thread.
        token_of: Returns the token of a message.
        token: Where to begin.
        clock: Returns seconds that never jump.

    Raises:
        TaskyardError: The server refuses it, cannot be reached in the beginning, or stays unreachable.
    """
    heard = False
    delays, until = chain(FIRST_DELAYS, repeat(LONGEST_DELAY)), 0.0
    begun_again = chain(FIRST_DELAYS, repeat(LONGEST_DELAY))
    while True:
        begun = clock()
        try:
            for message in _messages(call, token):
                heard, until = True, 0.0
                token = token_of(message)
                yield message
        except WatchExpired:
            if not token:
                raise  # not even the beginning arrived in time
            token = ""
            time.sleep(next(begun_again))  # who cannot keep up makes it no better by listing all the time
            continue
        except (*PASSING, Overloaded) as error:
            if not heard:
                raise  # somebody who asks wants to know at once that nobody answers
            if clock() - begun >= WORKED_SECONDS:
                delays = chain(FIRST_DELAYS, repeat(LONGEST_DELAY))
            until = until or clock() + PATIENCE_SECONDS
            if clock() >= until:
                raise
            time.sleep(error.retry_after or next(delays))
            continue
        return


def _messages(call: Callable[[str], Any], token: str) -> Iterator[Any]:
    """Iterate over the messages of one stream."""
    import grpc.aio

    async def opened() -> Any:
        return call(token)

    stream = loop_thread.run(opened())
    try:
        while True:
            try:
                message = loop_thread.run(stream.read(), SILENCE_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise _told(error) from None
            except TimeoutError:
                raise ConnectionFailed(f"the server said nothing for {SILENCE_SECONDS:g} seconds") from None
            if message is grpc.aio.EOF:
                loop_thread.run(_ended(stream))
                return
            yield message
    finally:
        loop_thread.loop().call_soon_threadsafe(stream.cancel)


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
