"""Keeps one stream to the control plane open for a session, whatever happens to the server.

Invariant: the session's state outlives every stream. A stream that breaks is followed by another one
that resumes the session, repeats what was not acknowledged and asks again for what is still open; user
code notices nothing but a warning in the log. Runs on the loop thread only.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from taskyard._data.values.holds import HOLDS
from taskyard._network.server.calling import open_channel
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1.session_service_pb2_grpc import SessionServiceStub
from taskyard_contract.errors import ConnectionFailed, ServerStopping, TaskyardError
from taskyard_contract.transport.call_ending import CallEnding
from taskyard_contract.transport.reconnecting import Reconnecting
from taskyard_contract.transport.rpc_errors import from_rpc_error

logger = logging.getLogger("taskyard.session")

HELLO_SECONDS: Final = 15.0
"""A server that recovers a large database accepts connections before it answers."""
LEAST_HELLO_SECONDS: Final = 3.0
"""However short the lease: what a busy machine may take."""
CALL_ENDED: Final = (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError)
"""What writing to a call raises that is over; why it is over is told to those who read from it."""
SAID_AFTER: Final = 4
"""Failures before people who wait for the first connection are told: about a second."""


class StreamOwner(Protocol):
    """What a stream needs of its session."""

    opened: threading.Event
    """Set once the session has been welcomed for the first time."""
    trouble: str
    """What went wrong with the latest connection, for people."""

    def hello(self) -> pb.SessionHello:
        """Return what opens a stream."""
        ...

    def on_welcome(self, welcome: pb.SessionWelcome) -> None:
        """Take the server's limits and prepare what must be repeated."""
        ...

    def next_frame(self) -> pb.ClientFrame | None:
        """Return what should be sent now, or None."""
        ...

    def on_frame(self, frame: pb.SessionFrame) -> None:
        """Take in what the server sent."""
        ...

    def on_fatal(self, error: TaskyardError) -> None:
        """The session cannot go on."""
        ...

    def locate(self) -> str:
        """Return the server's address; may block, to start a local yard."""
        ...


class Stream:
    """The connection of one session; replaces itself until closed."""

    def __init__(
        self,
        owner: StreamOwner,
        *,
        connect: Callable[[str], grpc.aio.Channel] = open_channel,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
        oldest_held: Callable[[], bytes] = HOLDS.oldest,
    ) -> None:
        """Prepare the connection of `owner`; `start` opens it.

        Args:
            owner: The session.
            connect: Opens a channel to an address.
            clock: Returns seconds that never jump.
            draw: Draws a number between two bounds, for the pauses between attempts.
            oldest_held: Returns from which run on this process holds futures.
        """
        self._owner = owner
        self._connect = connect
        self._oldest_held = oldest_held
        self._wake = asyncio.Event()
        self._closing = False
        self._idle = True
        self._beat_due = False
        self._holds_due = False
        self._connected = False
        self._channel: grpc.aio.Channel | None = None
        self._patience = HELLO_SECONDS
        self._reconnecting = Reconnecting(clock, draw)
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and connect again whenever the stream breaks; must be called on the loop thread."""
        self._task = asyncio.get_running_loop().create_task(self._keep_open())

    def wake(self) -> None:
        """Say that `next_frame` has something."""
        self._wake.set()

    @property
    def channel(self) -> grpc.aio.Channel | None:
        """What the stream is open on, for a call beside it; None while it is not open."""
        return self._channel if self._connected and not self._closing else None

    def leave(self) -> None:
        """Say goodbye without being waited for; must be called on the loop thread."""
        self._leaving = asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        """Send what is pending, say goodbye and end. May be called twice."""
        self._closing = True
        self._wake.set()
        task = self._task
        if task is not None:
            if not self._connected:
                task.cancel()
            await asyncio.wait([task], timeout=HELLO_SECONDS)

    async def _keep_open(self) -> None:
        address = ""
        while True:
            try:
                await self._one_stream(address or await self._locate())
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc_error(rpc_error)
            except TaskyardError as own_error:
                error = own_error
            except (OSError, asyncio.InvalidStateError) as local_error:
                # A local yard could not be started, or the call had ended when it was written to.
                error = ConnectionFailed(str(local_error) or type(local_error).__name__)
            except Exception as defect:
                # The next attempt would only meet it again, and whoever waits must not wait for ever.
                self._owner.on_fatal(_broken_down(defect))
                return
            if self._closing:
                return
            self._connected = False
            retry = self._reconnecting.failed(error)
            if retry is None:
                self._owner.on_fatal(error)
                return
            if not retry.address:
                self._say(error, retry.failures)
            address = retry.address
            await asyncio.sleep(retry.delay)

    async def _locate(self) -> str:
        # In a thread of its own. The loop's executor takes nothing any more once the main thread has ended,
        # and threads of the program that go on until later need a connection until then.
        found: ThreadFuture[str] = ThreadFuture()

        def locate() -> None:
            if found.set_running_or_notify_cancel():
                try:
                    found.set_result(self._owner.locate())
                except BaseException as error:  # for whoever waits for it
                    found.set_exception(error)

        threading.Thread(target=locate, name="taskyard-locate", daemon=True).start()
        return await asyncio.wrap_future(found)

    def _say(self, error: TaskyardError, failures: int) -> None:
        """Tell people about trouble, once."""
        self._owner.trouble = str(error)
        if failures == 1 and self._owner.opened.is_set():
            logger.warning("connection to the control plane lost (%s); reconnecting", error)
        elif failures == SAID_AFTER and not self._owner.opened.is_set():
            logger.warning("no control plane answers yet (%s); still trying", error)

    async def _one_stream(self, address: str) -> None:
        channel = self._channel = self._connect(address)
        try:
            stub: Any = SessionServiceStub(channel)
            call = stub.Connect()
            ending = CallEnding(call)
            try:
                welcome = await self._greet(call, address)
                self._connected = True
                self._reconnecting.welcomed()
                await self._converse(call, welcome)
            except grpc.aio.AioRpcError as error:
                raise await ending.cause_of(error) from None
        finally:
            self._channel = None
            await channel.close()

    async def _greet(self, call: Any, address: str) -> pb.SessionWelcome:
        try:
            # The writing as well: it waits for a connection, and one that its server has ended in the moment
            # in which it was made may pass for ready with gRPC for ever.
            async with asyncio.timeout(self._patience):
                await call.write(pb.ClientFrame(hello=self._owner.hello()))
                frame = await call.read()
        except TimeoutError:
            raise ConnectionFailed(f"the server at {address} did not answer") from None
        if frame is grpc.aio.EOF or not frame.HasField("welcome"):
            raise ConnectionFailed(f"the server at {address} did not send a welcome")
        welcome: pb.SessionWelcome = frame.welcome
        self._patience = greeting_seconds(welcome)
        self._owner.on_welcome(welcome)
        self._owner.on_frame(frame)
        return welcome

    async def _converse(self, call: Any, welcome: pb.SessionWelcome) -> None:
        """Read and write until the stream ends, which is always an exception."""
        interval = (welcome.heartbeat_ms or 5000) / 1000
        read = asyncio.ensure_future(self._read(call, self._owner.on_frame))
        write, beat = asyncio.ensure_future(self._write(call)), asyncio.ensure_future(self._beat(interval))
        jobs = (read, write, beat)
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_EXCEPTION)
            if write in done and read not in done and not isinstance(write.exception(), CALL_ENDED):
                await write  # raises what those who read would never hear
            await read
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _read(self, call: Any, on_frame: Callable[[pb.SessionFrame], None]) -> None:
        """Take in what comes until nothing comes any more, which is an exception."""
        while (frame := await call.read()) is not grpc.aio.EOF:
            on_frame(frame)
            if frame.submitted_up_to or frame.logs_up_to:
                self._wake.set()  # there is room for further batches
            if frame.reconnect_after_ms:
                raise ServerStopping("the server is restarting", retry_after=frame.reconnect_after_ms / 1000)
        raise TaskyardError("the server closed the connection")

    async def _write(self, call: Any) -> None:
        while True:
            self._wake.clear()
            frame = self._owner.next_frame()
            if frame is None and self._closing:
                await call.write(pb.ClientFrame(goodbye=True))
                await call.done_writing()
                return
            if frame is None and self._beat_due:
                frame = pb.ClientFrame(heartbeat=True)
            if frame is None:
                await self._wake.wait()
            else:
                if self._holds_due:
                    frame.holds_from = self._oldest_held()
                self._idle = self._beat_due = self._holds_due = False
                await call.write(frame)

    async def _beat(self, interval: float) -> None:
        """Keep the lease alive when nothing else is sent; and say now and then which runs are held."""
        while True:
            self._idle = True
            await asyncio.sleep(interval)
            self._holds_due = True
            if self._idle:
                self._beat_due = True
                self._wake.set()


def greeting_seconds(welcome: pb.SessionWelcome) -> float:
    """Return how long the next greeting may take: half a lease, so that another one may follow within it."""
    half = welcome.lease_ms / 2000 or HELLO_SECONDS
    return max(LEAST_HELLO_SECONDS, min(HELLO_SECONDS, half))


def _broken_down(defect: Exception) -> TaskyardError:
    error = TaskyardError(
        f"the connection to the control plane broke down in this process ({type(defect).__name__}: {defect})"
    )
    error.__cause__ = defect
    return error
