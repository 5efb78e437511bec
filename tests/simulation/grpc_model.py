"""gRPC's calls and servicer contexts over the simulated network.

Stubs, servicers and the interceptor are the real ones. What is imitated is grpc.aio as the product uses it:
streams that are read and written, cancelled, half closed, ended with a status or lost, and unary calls with
deadlines. Where grpc.aio is peculiar, so is this: a call that was cancelled here raises CancelledError where
it is read, one that has ended raises InvalidStateError where it is written, what was received is read before
a status, and a stream whose end meets a message that is being written forgets its status.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio

from simulation.loop import Node
from simulation.net import DOWN, UP, Half, Link, Network, settled

WINDOW_BYTES: Final = 64 * 1024
"""Unread bytes of one direction beyond which whoever writes waits."""
RESET_BYTES: Final = 13
EOF: Any = grpc.aio.EOF
NO_METADATA: Final[grpc.aio.Metadata] = grpc.aio.Metadata()

Status = tuple[grpc.StatusCode, str, Any]


class Inbox:
    """One direction of a stream as its reader sees it."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._unread = 0
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self.over = False
        """Nothing comes any more."""

    def sent(self, data: bytes) -> None:
        self._unread += len(data)

    def arrived(self, data: bytes) -> None:
        self._frames.append(data)
        settled(self._reader)

    def end(self, lost: bool = False) -> None:
        self.over = True
        if lost:
            self._frames.clear()
        self.free()
        settled(self._reader)

    def free(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            settled(writer)

    @property
    def empty(self) -> bool:
        return not self._frames

    async def room(self) -> None:
        """Wait until the other side has read enough."""
        if self._unread > WINDOW_BYTES and not self.over:
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer

    async def next(self) -> bytes | None:
        """Return the next frame, None when there will be none."""
        while not self._frames:
            if self.over:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._frames.popleft()
        self._unread -= len(data)
        if self._unread <= WINDOW_BYTES:
            self.free()
        return data


class Connection:
    """One call with a connection of its own, as the product opens them: what is on its way, and both ends."""

    def __init__(self, net: Network, node: Node, method: str, timeout: float | None = None) -> None:
        self.net, self.node, self.method, self.timeout = net, node, method, timeout
        self.link: Link
        self.call: ClientCall
        self.served: ServerCall | None = None
        self.server: Any = None
        self.opened_at = net.loop.time()
        self.gone = False
        self.granted = self.received = 0
        """Of an agent's stream: how many runs it has asked for, and got."""
        self.address = ""
        self.up: Half
        self.down: Half
        self.upward, self.downward = Inbox(), Inbox()
        net.dial(node, self)
        self.address = self.link.address()
        self.up = Half(self.link, UP, self._at_server)
        self.down = Half(self.link, DOWN, self._at_client)

    # What the network does with it.

    def established(self, server: Any) -> None:
        if not self.gone:
            self.server = server
            self.opened_at = self.net.loop.time()
            if self.link.troubled_since is not None:
                self.link.expect_silence()
            self.call.connected()

    def broken(self, text: str) -> None:
        """Lose the connection at both ends, at once."""
        if self.gone:
            return
        self.leave()
        self.call.ended((grpc.StatusCode.UNAVAILABLE, text, NO_METADATA), lost=True)
        if self.served is not None:
            self.served.client_left()

    def end_died(self, node: Node) -> None:
        """Take in that a process has died; its end of this connection may be the one."""
        if node is self.node:
            self.call.dead = True
            self.up.send(RESET_BYTES, ("reset",))
        elif self.server is not None and self.server.node is node:
            self.down.send(RESET_BYTES, ("reset",))

    def leave(self) -> None:
        self.gone = True
        if self in self.link.connections:
            self.link.connections.remove(self)

    def send_up(self, data: bytes) -> None:
        self.net.observe(self.address, UP, data)
        self.upward.sent(data)
        self.up.send(len(data) + 9, ("frame", data))

    def send_down(self, data: bytes) -> None:
        self.net.observe(self.address, DOWN, data)
        self.downward.sent(data)
        self.down.send(len(data) + 9, ("frame", data))

    def _at_server(self, item: tuple[Any, ...]) -> None:
        if self.server is None:  # through a proxy, which connects now
            self.server = self.net.listener
            if self.server is None:
                self.down.send(RESET_BYTES, ("reset",))
                return
        if not self.server.node.alive:
            return
        if item[0] == "open":
            self.served = ServerCall(self)
            self.server.node.run(self.served.begin)
        elif self.served is not None:
            self.served.took(item)
        if item[0] == "reset":
            self.leave()

    def _at_client(self, item: tuple[Any, ...]) -> None:
        if self.call.dead:
            return
        if item[0] == "frame":
            self.downward.arrived(item[1])
        elif item[0] == "status":
            self.call.ended(item[1])
            self.leave()
        else:
            self.call.ended((grpc.StatusCode.UNAVAILABLE, "Socket closed", NO_METADATA), lost=True)
            self.leave()


class ClientCall:
    """What calls of `grpc.aio` are to the product."""

    def __init__(self, connection: Connection, serialize: Any, deserialize: Any) -> None:
        self._connection = connection
        self._serialize, self._deserialize = serialize, deserialize
        self._connected = False
        self._waiting: list[asyncio.Future[None]] = []
        self._half_closed = False
        self._cancelled = False
        self._status: Status | None = None
        self._late: Status | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self.dead = False
        connection.call = self

    def connected(self) -> None:
        self._connected = True
        self._connection.up.send(RESET_BYTES, ("open",))
        self._wake()

    def ended(self, status: Status, lost: bool = False) -> None:
        """Take in how the call ended: once everything that came before has been read."""
        if self._status is not None or self._late is not None:
            return
        self._late = status
        self._connection.downward.end(lost)
        self._connection.upward.free()
        self._look()

    def _look(self) -> None:
        if self._late is not None and self._status is None and self._connection.downward.empty:
            self._end(self._late)

    def _end(self, status: Status) -> None:
        self._status = status
        self._wake()
        for callback in self._callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            settled(future)

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def done(self) -> bool:
        return self._status is not None

    def cancelled(self) -> bool:
        return self._status is not None and self._status[0] is grpc.StatusCode.CANCELLED

    def cancel(self) -> bool:
        if self.done():
            return False
        self._cancelled = True
        self._give_up(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
        return True

    def expire(self) -> None:
        """The deadline has passed."""
        if not self.done():
            self._give_up(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _give_up(self, code: grpc.StatusCode, details: str) -> None:
        self._end((code, details, NO_METADATA))
        if self._connected:
            self._connection.up.send(RESET_BYTES, ("reset",))
        else:
            self._connection.leave()
        self._connection.downward.end(lost=True)
        self._connection.upward.free()

    async def write(self, message: Any) -> None:
        if self.done():
            raise asyncio.InvalidStateError("RPC already finished.")
        if self._half_closed:
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        try:
            while not self._connected and not self.done():
                await self._wait()
            if self.done():
                await self._raise_for_status()
            self._connection.net.watch(self._connection, UP, message)
            self._connection.send_up(self._serialize(message))
            await self._connection.upward.room()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self.done():
            self._fail_to_write()
            await self._raise_for_status()

    def _fail_to_write(self) -> None:
        """The call has ended meanwhile, which says why."""

    async def done_writing(self) -> None:
        if not self.done() and not self._half_closed:
            self._half_closed = True
            self._connection.up.send(RESET_BYTES, ("half_close",))

    async def read(self) -> Any:
        if self.done():
            await self._raise_for_status()
            return EOF
        try:
            while not self._connected and not self.done():
                await self._wait()
            data = await self._connection.downward.next()
        except asyncio.CancelledError:
            self.cancel()
            raise
        self._look()
        if data is None or self._cancelled:
            await self._raise_for_status()
            return EOF
        message = self._deserialize(data)
        self._connection.net.watch(self._connection, DOWN, message)
        return message

    async def code(self) -> grpc.StatusCode:
        return (await self._final())[0]

    async def details(self) -> str:
        return (await self._final())[1]

    async def initial_metadata(self) -> Any:
        return NO_METADATA

    async def trailing_metadata(self) -> Any:
        return (await self._final())[2]

    async def _final(self) -> Status:
        while self._status is None:
            await self._wait()
        return self._status

    async def _raise_for_status(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError
        code, details, trailing = await self._final()
        if code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(code, NO_METADATA, trailing, details)


class ClientStream(ClientCall):
    """What `grpc.aio.StreamStreamCall` is to the product."""

    def _fail_to_write(self) -> None:
        self._end((grpc.StatusCode.INTERNAL, "Internal error from Core", NO_METADATA))


class ServerCall:
    """What a servicer context is to the product, and the task that runs the handler."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.upward
        self._task: asyncio.Task[None] | None = None
        self._left = False
        self._ended = False
        self._deadline: float | None = None

    def begin(self) -> None:
        net, timeout = self._connection.net, self._connection.timeout
        if timeout is not None:
            self._deadline = net.loop.time() + timeout
            net.loop.later(timeout, self._expired)
        self._handler = self._connection.server.handler(self._connection.method)
        self._task = asyncio.ensure_future(self._serve())
        if self._left:
            self._task.cancel()

    def took(self, item: tuple[Any, ...]) -> None:
        if item[0] == "frame":
            self._inbox.arrived(item[1])
        elif item[0] == "half_close":
            self._inbox.end()
        else:
            self.client_left()

    def client_left(self) -> None:
        """The client has cancelled the call, or is gone; core cancels the handler's task."""
        self._left = True
        self._inbox.end(lost=True)
        self._connection.downward.free()
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _expired(self) -> None:
        if not self._ended:
            self.client_left()

    def stop(self) -> None:
        """The server stops, and its grace is over."""
        if self._task is not None and not self._task.done():
            self._end(grpc.StatusCode.UNAVAILABLE, "Cancelling all calls", NO_METADATA)
            self._task.cancel()

    async def _serve(self) -> None:
        try:
            if self._handler.unary_unary:
                await self._answer()
            else:
                await self._handler.stream_stream(None, self)
        except grpc.aio.AbortError:
            return
        except asyncio.CancelledError:
            self._end(grpc.StatusCode.CANCELLED, "the server ended the call", NO_METADATA)
            raise
        except Exception as error:
            self._end(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}", NO_METADATA)
            raise
        self._end(grpc.StatusCode.OK, "", NO_METADATA)

    async def _answer(self) -> None:
        data = await self._inbox.next()
        if data is not None:
            answer = await self._handler.unary_unary(self._handler.request_deserializer(data), self)
            if not self._left:
                self._connection.send_down(self._handler.response_serializer(answer))

    def _end(self, code: grpc.StatusCode, details: str, trailing: Any) -> None:
        if not self._ended and not self._left:
            self._connection.down.send(RESET_BYTES, ("status", (code, details, trailing)))
        self._ended = True

    def peer(self) -> str:
        return self._connection.address

    def done(self) -> bool:
        return self._ended or self._left

    def cancelled(self) -> bool:
        return self._left

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else self._deadline - self._connection.net.loop.time()

    async def read(self) -> Any:
        if self._ended:
            raise grpc.aio.UsageError("RPC already finished.")
        data = await self._inbox.next()
        return EOF if data is None else self._handler.request_deserializer(data)

    async def write(self, message: Any) -> None:
        if self._ended:
            raise grpc.aio.UsageError("RPC already finished.")
        if self._left:
            raise grpc.aio.InternalError("the client has left")
        self._connection.send_down(self._handler.response_serializer(message))
        await self._connection.downward.room()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Any = NO_METADATA) -> None:
        self._end(code, details, trailing)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: Any) -> None:
        trailing = grpc.aio.Metadata(*((key, value) for key, value in status.trailing_metadata or ()))
        await self.abort(status.code, status.details, trailing)
