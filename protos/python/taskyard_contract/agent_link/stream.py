"""Drives a `LinkSession` over one gRPC stream after the other.

One coroutine reads, one writes everything pending at each wake-up, one sends heartbeats, and one watches the
lease whether or not a stream is open. Nothing here runs per run. Invariant: a broken stream never ends work;
only a lapsed lease does, and that is the session's decision.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import grpc
from grpc import aio

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1.agent_service_pb2_grpc import AgentServiceStub
from taskyard_contract.agent_link.complaints import Complaints
from taskyard_contract.agent_link.session import LinkSession
from taskyard_contract.clock import Clock
from taskyard_contract.errors import ConnectionFailed, ServerStopping, TaskyardError
from taskyard_contract.transport.call_ending import CallEnding, status_of
from taskyard_contract.transport.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.transport.reconnecting import Reconnecting
from taskyard_contract.transport.rpc_errors import from_rpc_error

if TYPE_CHECKING:
    from taskyard_api.v1.agent_service_pb2_grpc import AgentServiceAsyncStub

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS: Final = 10.0
"""How long a welcome may take: a server answers at once, or a new connection is more likely to help."""
FAREWELL_SECONDS: Final = 0.5
"""How long the server has to end the stream in answer; that it does so is a courtesy nobody depends on."""

_Call: TypeAlias = "aio.StreamStreamCall[pb.AgentFrame, pb.ServerFrame]"


class AgentStream:
    """Keeps one session connected, by one stream after the other, until it is stopped."""

    def __init__(
        self,
        address: str,
        session: LinkSession,
        clock: Clock,
        *,
        on_ready: Callable[[], None] | None = None,
        connect: Callable[[str], aio.Channel] | None = None,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Connect `session` to a server.

        Args:
            address: ``HOST:PORT`` or ``unix:PATH``.
            session: The protocol machine.
            clock: Times the lease.
            on_ready: Called once, when the first welcome has arrived.
            connect: Opens a channel to an address; None for gRPC's over TCP.
            draw: Draws a number between two bounds, for the pauses between attempts.
        """
        self.address = address
        """The server of the latest attempt; another one than configured while that one says so."""
        self._configured = address
        self._session = session
        self._clock = clock
        self._on_ready = on_ready
        self._connect = connect or _open_channel
        self._pending = asyncio.Event()
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._reconnecting = Reconnecting(clock.monotonic, draw)
        self._complaints = Complaints(clock.monotonic)
        self._call: _Call | None = None
        self._handshake: asyncio.Timeout | None = None
        session.wake = self._pending.set

    async def run(self) -> None:
        """Stay connected until `stop`.

        Raises:
            UnsupportedProtocol, Superseded, InvalidRequest: Connecting again is of no use.
        """
        watch = asyncio.create_task(self._watch_lease())
        try:
            while not self._stopping.is_set():
                error = await self._attempt()
                if not self._stopping.is_set():
                    await self._prepare_next(error)
        finally:
            await _end(watch)

    def stop(self) -> None:
        """End the stream, also one that nobody has answered yet; `run` returns."""
        self._stopping.set()
        self._pending.set()
        self._end_handshake()

    async def settle(self, timeout: float) -> bool:
        """Wait until everything reported is acknowledged; returns whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._session.settled:
                    self._settled.clear()
                    await self._settled.wait()
        return self._session.settled

    async def _attempt(self) -> TaskyardError:
        """Keep one stream open as long as it lasts; returns why it ended."""
        try:
            await self._serve()
        except aio.AioRpcError as error:
            return from_rpc_error(error)
        except TaskyardError as error:
            return error
        hint = self._session.reconnect_after
        if hint is not None:
            return ServerStopping("the server is restarting", retry_after=hint)
        return TaskyardError("the server closed the stream")

    async def _prepare_next(self, error: TaskyardError) -> None:
        retry = self._reconnecting.failed(error)
        if retry is None:
            raise error
        self._complain(error)
        self.address = retry.address or self._configured
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), retry.delay)

    def _complain(self, error: TaskyardError) -> None:
        seconds = self._complaints.failed()
        if seconds is None:
            logger.debug("no stream to %s: %s", self.address, error)
        elif seconds < 1.0:
            logger.warning("lost the stream to %s: %s", self.address, error)
        else:
            text = "no connection to %s for %.0f s: %s; trying again until there is one"
            logger.warning(text, self.address, seconds, error)

    async def _serve(self) -> None:
        # A channel of its own for each attempt: an old one would wait out its back-off.
        async with self._connect(self.address) as channel:
            call: _Call = cast("AgentServiceAsyncStub", AgentServiceStub(channel)).Connect()
            self._call = call
            ending = CallEnding(call)
            helpers: list[asyncio.Task[None]] = []
            try:
                await self._shake_hands(call)
                helpers += [self._spawn(call, self._write(call)), self._spawn(call, self._beat())]
                await self._read(call)
            except aio.AioRpcError as error:
                raise await ending.cause_of(error) from None
            except asyncio.CancelledError:
                if not ending.cancelled or _being_cancelled():
                    raise
                # A helper gave the stream up.
            finally:
                call.cancel()
                self._call = None
                for helper in helpers:
                    await _end(helper)

    async def _shake_hands(self, call: _Call) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS) as self._handshake:
                await call.write(self._session.hello(self._clock.monotonic()))
                frame = await call.read()
        except TimeoutError:
            raise ConnectionFailed(f"{self.address} did not answer in time") from None
        except asyncio.InvalidStateError:
            frame = aio.EOF
        finally:
            self._handshake = None
        if not isinstance(frame, pb.ServerFrame):
            await _raise_status(call)
            raise ConnectionFailed(f"{self.address} ended the stream before its welcome")
        self._session.welcomed(frame)
        self._say_dropped()
        self._reconnecting.welcomed()
        if (seconds := self._complaints.welcomed()) is not None:
            logger.info("connected to %s after %.1f s", self.address, seconds)
        self._pending.set()
        self._settled.set()
        if self._on_ready is not None:
            self._on_ready()
            self._on_ready = None

    def _say_dropped(self) -> None:
        """Tell people of log records that were given up, once there is somebody to take the next ones."""
        if self._session.dropped_logs:
            logger.warning("%d log records dropped: nobody took them", self._session.dropped_logs)
            self._session.dropped_logs = 0
        if self._session.dropped_output:
            logger.warning("%d bytes of output dropped: nobody took them", self._session.dropped_output)
            self._session.dropped_output = 0

    async def _read(self, call: _Call) -> None:
        session, clock = self._session, self._clock
        while True:
            frame = await call.read()
            if not isinstance(frame, pb.ServerFrame):
                await _raise_status(call)
                return
            session.received(frame, clock.monotonic())
            self._say_dropped()
            self._pending.set()
            if session.settled:
                self._settled.set()
            if session.reconnect_after is not None:
                return

    async def _write(self, call: _Call) -> None:
        session, pending = self._session, self._pending
        while not self._stopping.is_set():
            await pending.wait()
            pending.clear()
            while (frame := session.next_frame()) is not None:
                await call.write(frame)
        await call.done_writing()
        # The server ends the stream in answer; it is not waited for long.
        await asyncio.sleep(FAREWELL_SECONDS)

    async def _beat(self) -> None:
        session = self._session
        while session.lease.silence(self._clock.monotonic()) < session.lease.seconds / 2:
            session.beat(self._clock.monotonic())
            await asyncio.sleep(session.lease.interval)
        # The socket may be fine and the way back dead; a new stream is the only cure within the lease.
        logger.warning("%s does not answer heartbeats; connecting again", self.address)

    def _spawn(self, call: _Call, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a helper of a stream; when it ends, so does the stream, whose status says why."""

        async def guarded() -> None:
            try:
                await work
            except (aio.AioRpcError, asyncio.InvalidStateError):
                return  # the reader gets the status
            finally:
                call.cancel()

        return asyncio.create_task(guarded())

    async def _watch_lease(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, self._session.lease.interval / 2))
            if self._session.check_lease(self._clock.monotonic()):
                self._give_up()

    def _give_up(self) -> None:
        """End the stream under way: what its hello said is no longer held."""
        self._end_handshake()
        if self._call is not None:
            self._call.cancel()

    def _end_handshake(self) -> None:
        if self._handshake is not None and not self._handshake.expired():
            # A call that has not reached anybody yet does not notice that it is cancelled.
            self._handshake.reschedule(asyncio.get_running_loop().time())


def _open_channel(address: str) -> aio.Channel:
    return aio.insecure_channel(target_of(address), options=CLIENT_OPTIONS)


async def _raise_status(call: _Call) -> None:
    """Raise what ended a call, unless the server ended it in good order."""
    status = await status_of(call)
    if status.code() is not grpc.StatusCode.OK:
        raise status


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
