"""What both streams have in common: a first frame in time, one place that writes, and an end that is told.

Theory of operation. A call has two tasks for as long as it lives. The handler itself writes, and it alone
ends the call: gRPC allows neither a second write nor a status while a write is under way, and a call to which
that happened would never end for its peer. A second task reads. Whoever wants the stream to end, the owner or
the reading that came to an end, says so and wakes the handler; the write under way is waited for, and then
the status follows it. So a peer hears why as soon as it reads, and one that never reads holds one frame.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import Message

from taskyard_contract.errors import InvalidRequest, Overloaded, TaskyardError
from taskyard_controlplane.owner.peers.peer import host_of

FULL_RETRY_SECONDS: Final = 5.0
"""When to come back to a server that has all the streams it takes: those who left in silence are noticed by
their leases, which takes longer, but others end as well."""


class Received(NamedTuple):
    """A frame of a peer, as the handler of a stream reads it."""

    frame: Any
    size: int
    """How many bytes it took."""


async def first_frame(context: Any, field: str, who: str, seconds: float) -> Received:
    """Read the first frame of a stream; a stream on which none comes within `seconds` ends.

    Raises:
        InvalidRequest: It does not introduce the caller.
    """
    try:
        async with asyncio.timeout(seconds):
            received = await context.read()
    except TimeoutError:
        text = f"no frame came within {seconds:g} seconds; the first frame of {who} must carry '{field}'"
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)
    if received is grpc.aio.EOF or not received.frame.HasField(field):
        raise InvalidRequest(f"the first frame of {who} must carry '{field}'")
    first: Received = received
    return first


class Places:
    """How many calls of some kind are open, in all and from each address; what is beyond is refused."""

    def __init__(self, what: str, *, most: int, per_address: int) -> None:
        """Have room for `most` calls, `per_address` from one address; `what` they are, for people."""
        self._what = what
        self._most = most
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self._freed = asyncio.Event()

    @contextmanager
    def take(self, peer: str) -> Iterator[None]:
        """Hold a place for as long as a call from `peer`, as gRPC names it, is open.

        Raises:
            Overloaded: There is none left.
        """
        host = host_of(peer)
        if not self._has_room(host):
            raise self._full(host)
        self._open[host] += 1
        try:
            yield
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
            self._freed.set()

    @asynccontextmanager
    async def turn(self, peer: str, seconds: float) -> AsyncIterator[None]:
        """Hold a place like `take`, but wait for it, for so many seconds.

        Raises:
            Overloaded: There was none.
        """
        host = host_of(peer)
        try:
            async with asyncio.timeout(seconds):
                while not self._has_room(host):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise self._full(host) from None
        with self.take(peer):
            yield

    def _has_room(self, host: str) -> bool:
        return self._open[host] < self._per_address and self._open.total() < self._most

    def _full(self, host: str) -> Overloaded:
        here = self._open[host] >= self._per_address
        limit, whence = (self._per_address, f" from {host}") if here else (self._most, "")
        text = f"the control plane has {limit} {self._what}{whence} already; end some, or try again later"
        return Overloaded(text, limit=limit, retry_after=FULL_RETRY_SECONDS)


class Outgoing:
    """The sending side of one stream, and its end."""

    def __init__(self, context: Any) -> None:
        """Send on the stream of `context`."""
        self._context = context
        self._event = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._over = False
        self._reason: BaseException | None = None
        # Made once: the owner tells streams apart by the identity of these.
        self.wake: Callable[[], None] = self._event.set
        self.close: Callable[[TaskyardError], None] = self._close

    async def serve(
        self,
        reading: Coroutine[Any, Any, None],
        left: Callable[[], None],
        first: Message,
        next_frame: Callable[[], Message | None],
        written: Callable[[], None],
    ) -> None:
        """Send `first`, then what `next_frame` returns whenever `wake` was called, until the stream is over.

        Args:
            reading: Takes in what the peer sends; returns when the peer has nothing more to say.
            left: Called once nothing is read any more, which may be long before a last write is through.
            first: The welcome.
            next_frame: Returns what there is to send, None for nothing.
            written: Called when gRPC has taken a frame over, which it does no faster than the peer reads.

        Raises:
            Exception: Why the stream is over, unless the peer has ended it.
        """
        reader = self._reader = asyncio.create_task(reading)
        reader.add_done_callback(lambda done: self._read_all(done, left))
        try:
            await self._write(first, next_frame, written)
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            # A task that failed keeps the frame it failed with, and this object refers to itself.
            self._reader = None
        reason, self._reason = self._reason, None
        if reason is not None:
            raise reason from None

    async def _write(
        self,
        frame: Message | None,
        next_frame: Callable[[], Message | None],
        written: Callable[[], None],
    ) -> None:
        event, write = self._event, self._context.write
        while not self._over:
            if frame is not None:
                await write(frame)
                frame = None  # or it would be kept until there is another
                written()
            await event.wait()
            event.clear()
            frame = None if self._over else next_frame()

    def _close(self, error: TaskyardError) -> None:
        self._end(error)
        if self._reader is not None:
            self._reader.cancel()

    def _read_all(self, reader: "asyncio.Task[None]", left: Callable[[], None]) -> None:
        self._end(None if reader.cancelled() else reader.exception())
        left()

    def _end(self, reason: BaseException | None) -> None:
        """Let the handler end the call. What was said first stands: what follows from it explains nothing."""
        if not self._over:
            self._over, self._reason = True, reason
            self._event.set()

    async def read(self) -> Received | None:
        """Return the next frame, None when the caller has ended the stream, or nothing comes any more."""
        try:
            received = await self._context.read()
        except grpc.aio.BaseError:
            return None  # the call is over, or this server has stopped meanwhile
        return None if received is grpc.aio.EOF else received
