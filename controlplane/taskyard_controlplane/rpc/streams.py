"""What both streams have in common: one writer per stream, woken when there is something to send.

Invariant: a stream has at most one write under way, and whoever produces frames never waits for it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from taskyard_contract.errors import InvalidRequest, TaskyardError


async def first_frame(context: Any, field: str, who: str) -> Any:
    """Read the first frame of a stream.

    Raises:
        InvalidRequest: It does not introduce the caller.
    """
    frame = await context.read()
    if frame is grpc.aio.EOF or not frame.HasField(field):
        raise InvalidRequest(f"the first frame of {who} must carry '{field}'")
    return frame


class Outgoing:
    """The sending side of one stream."""

    def __init__(self, context: Any) -> None:
        """Send on the stream of `context`."""
        self._context = context
        self._event = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        # Closing interrupts whoever reads; a task of its own for each read would cost more than the read.
        self._serving = asyncio.current_task()
        self._closed: Exception | None = None
        # Made once: the owner tells streams apart by the identity of these.
        self.wake: Callable[[], None] = self._event.set
        self.close: Callable[[TaskyardError], None] = self._close

    def start(self, next_frame: Callable[[], Message | None]) -> None:
        """Send what `next_frame` returns whenever `wake` was called."""
        self._writer = asyncio.create_task(self._write(next_frame))
        self._event.set()

    async def _write(self, next_frame: Callable[[], Message | None]) -> None:
        event, write = self._event, self._context.write
        try:
            while True:
                await event.wait()
                event.clear()
                frame = next_frame()
                if frame is not None:
                    await write(frame)
        except Exception as error:
            self._close(error)  # a stream on which nothing can be sent would keep its peer waiting

    def _close(self, error: Exception) -> None:
        self._closed = error
        if self._serving is not None:
            self._serving.cancel()

    async def read(self) -> Any:
        """Return the next frame, None when the caller has ended the stream.

        Raises:
            TaskyardError: The owner closed the stream with it.
        """
        self.raise_if_closed()
        frame = await self._context.read()
        return None if frame is grpc.aio.EOF else frame

    def raise_if_closed(self) -> None:
        """Say why the stream was closed. To be called also when the call is interrupted, which closing does.

        Raises:
            TaskyardError: The owner closed the stream with it.
            Exception: Sending failed with it.
        """
        if self._closed is not None:
            raise self._closed from None

    async def stop(self) -> None:
        """Stop sending, and wait until nothing writes any more: gRPC allows no write after the call."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
