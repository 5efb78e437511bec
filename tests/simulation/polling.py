"""An agent's link over unary calls: what `AgentStream` is to a session, with `Poll` and `ReportBatch`.

There is no such client in the product, only the contract of those calls. So this keeps its rules, around the
real session and pool: polls are numbered and asked for again under their number, one batch of reports goes
after the other, and the lease is counted from when a call was made that was answered.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import grpc.aio

from simulation.channel import Channel
from simulation.loop import Node
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1.agent_service_pb2_grpc import AgentServiceStub
from taskyard_contract.agent_link import LinkSession
from taskyard_contract.errors import (
    ConnectionFailed,
    NotOwner,
    ServerStopping,
    StorageUnavailable,
    TaskyardError,
    UnknownSession,
)
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.transport.reconnecting import Reconnecting
from taskyard_contract.transport.rpc_errors import from_rpc_error

PASSING: Final = (ConnectionFailed, NotOwner, ServerStopping, StorageUnavailable)
HELLO_SECONDS: Final = 5.0
"""How long a hello may take."""
WAIT: Final = 1 / 3
"""Of the lease: how long a poll waits for something to say."""
DEADLINE: Final = 1 / 2
"""Of the lease: how long a call may take."""
LONGEST_PAUSE: Final = 1.0
"""Between two attempts at the same call."""
CHECKS: Final = 0.25
"""How often the lease is looked at."""


class Asked:
    """What a poll asks for: when that changes, the same poll is asked for once more."""

    def __init__(self, runs: int = 0, chunk_size: int = 1, nested_only: bool = False, draining: bool = False):
        self.fields = {
            "max_runs": runs,
            "chunk_size": chunk_size,
            "nested_only": nested_only,
            "draining": draining,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asked) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]


class PolledLink:
    """Keeps one session connected by calls, until it is stopped or over."""

    def __init__(self, world: Any, node: Node, session: LinkSession) -> None:
        self._world, self._node, self._session = world, node, session
        self._clock = world.clock.monotonic
        self._stub: Any = AgentServiceStub(Channel(world.net, node))  # type: ignore[no-untyped-call]
        self._reconnecting = Reconnecting(self._clock, node.random.uniform)
        self._ids = {"agent_id": session.identity.agent_id, "session_id": session.identity.session_id}
        self._changed, self._settled = asyncio.Event(), asyncio.Event()
        self._greeted = asyncio.Event()
        self._number = self._hellos = 0
        self._credit = pb.Credit(chunk_size=1)
        self._received = 0
        self._batches: deque[pb.ReportBatchRequest] = deque()
        self._untold = asyncio.Event()
        """Set when there is another batch."""
        self._round: asyncio.Task[None] | None = None
        self._over = False
        session.wake = self._woken

    async def run(self) -> None:
        """Poll and report until that is over.

        Raises:
            TaskyardError: Going on is of no use.
        """
        helpers = [asyncio.ensure_future(each) for each in (self._watch_lease(), self._report())]
        try:
            while not self._over:
                self._round = asyncio.ensure_future(self._poll())
                await asyncio.wait([self._round, helpers[1]], return_when=asyncio.FIRST_COMPLETED)
                if helpers[1].done():
                    helpers[1].result()
                await self._after(self._round)
        finally:
            for each in helpers:
                each.cancel()

    async def _after(self, round_: "asyncio.Task[None]") -> None:
        """Deal with how a poll has ended."""
        try:
            await round_
        except asyncio.CancelledError:
            return  # the lease was lost, or a report found the session unknown: the next one says hello
        except UnknownSession:
            self._lost_session()
            self._over = self._session.draining and not self._session._held()
        except TaskyardError as error:
            retry = self._reconnecting.failed(error)
            if retry is None:
                raise
            await asyncio.sleep(retry.delay)

    def stop(self) -> None:
        """Leave when the server has said that everything is done, or after a lease at the latest."""
        self._world.loop.call_later(self._session.lease.seconds, self._leave)

    def _leave(self) -> None:
        self._over = True
        self._interrupt()

    async def settle(self, timeout: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._session.settled:
                    self._settled.clear()
                    await self._settled.wait()
        return self._session.settled

    def _woken(self) -> None:
        self._changed.set()

    def _interrupt(self) -> None:
        if self._round is not None:
            self._round.cancel()

    def _lost_session(self) -> None:
        self._greeted.clear()

    # Polls.

    async def _poll(self) -> None:
        """Ask for the next number until it is answered."""
        self._number += 1
        number, hello = self._number, not self._greeted.is_set()
        response = await (self._hello(number) if hello else self._ask(number))
        self._take(response, hello)
        pause = self._session.reconnect_after
        if pause is not None:
            self._session.reconnect_after = None
            await asyncio.sleep(pause)

    async def _hello(self, number: int) -> pb.PollResponse:
        def request() -> pb.PollRequest:
            hello = self._session.hello(self._clock()).hello
            return pb.PollRequest(**self._ids, number=number, hello=hello, draining=self._session.draining)

        return await self._insisting(self._stub.Poll, request, HELLO_SECONDS)

    async def _ask(self, number: int) -> pb.PollResponse:
        """Ask, and ask again under the same number when something else is wanted meanwhile."""
        asked, most = self._wanted(), 0
        calls: list[asyncio.Future[Any]] = []
        try:
            while True:
                most = max(most, asked.fields["max_runs"])
                calls.append(asyncio.ensure_future(self._insist_on(number, asked)))
                while (wanted := self._wanted()) == asked:
                    answered = next((each for each in calls if each.done()), None)
                    if answered is not None:
                        response: pb.PollResponse = answered.result()
                        self._count(response, most)
                        return response
                    self._changed.clear()
                    await _first([*calls, asyncio.ensure_future(self._changed.wait())])
                asked = wanted
        finally:
            for each in calls:
                each.cancel()

    def _count(self, response: pb.PollResponse, most: int) -> None:
        runs = sum(len(chunk.run_ids) // ID_BYTES for chunk in response.chunks)
        self._received += runs
        if runs > most:
            self._world.note("overdrawn", who=self._node.name, value=(runs, most))

    async def _insist_on(self, number: int, asked: Asked) -> pb.PollResponse:
        lease, beats = self._session.lease, []

        def request() -> pb.PollRequest:
            beats.append(lease.beat(self._clock()))
            wait_ms = round(lease.seconds * WAIT * 1000)
            return pb.PollRequest(**self._ids, number=number, wait_ms=wait_ms, **asked.fields)

        response = await self._insisting(self._stub.Poll, request, lease.seconds * DEADLINE)
        self._answered(beats[-1])
        return response

    def _wanted(self) -> Asked:
        """Return what the session asks for at the moment; what it reports meanwhile is put aside."""
        session = self._session
        while (frame := session.next_frame()) is not None:
            if frame.HasField("credit"):
                self._credit.CopyFrom(frame.credit)
            if frame.started and not frame.report_number:
                session._outbox.add(frame)  # batches have numbers
            if frame.report_number:
                self._batches.append(self._batch(frame))
                self._untold.set()
        runs = 0 if session.draining else max(0, self._credit.granted_total - self._received)
        return Asked(runs, max(1, self._credit.chunk_size), self._credit.nested_only, session.draining)

    def _take(self, response: pb.PollResponse, hello: bool) -> None:
        frame = pb.ServerFrame(
            templates=response.templates,
            chunks=response.chunks,
            cancel=response.cancel,
            drain=response.drain,
            reconnect_after_ms=response.reconnect_after_ms,
            reported_up_to=response.reported_up_to,
        )
        if hello:
            self._hellos += 1
            self._credit, self._received = pb.Credit(chunk_size=1), 0
            self._batches.clear()
            frame.welcome.CopyFrom(response.welcome)
            self._session.welcomed(frame)
            self._reconnecting.welcomed()
            self._greeted.set()
        else:
            self._session.received(frame, self._clock())
        self._over = self._over or response.drained
        self._woken()
        self._look()

    def _answered(self, beat: int) -> None:
        self._session.received(pb.ServerFrame(heartbeat=beat), self._clock())

    def _look(self) -> None:
        self._session.dropped_logs = 0  # and say so
        if self._session.settled:
            self._settled.set()

    # Reports.

    async def _report(self) -> None:
        """Report one batch after the other, each until it is durable."""
        while True:
            await self._greeted.wait()
            if not self._batches:
                self._untold.clear()
                await self._untold.wait()
                continue
            hellos = self._hellos
            try:
                await self._tell(self._batches[0])
            except UnknownSession:
                if hellos == self._hellos and self._greeted.is_set():
                    self._lost_session()
                    self._interrupt()

    def _batch(self, frame: pb.AgentFrame) -> pb.ReportBatchRequest:
        """Copy a frame: the session takes what it has handed out for sent, and may let go of its logs."""
        return pb.ReportBatchRequest(
            **self._ids,
            report_number=frame.report_number,
            reports=frame.reports,
            started=frame.started,
            given_back=frame.given_back,
            lost=frame.lost,
            cancelled=frame.cancelled,
            logs=frame.logs if frame.HasField("logs") else None,
        )

    async def _tell(self, batch: pb.ReportBatchRequest) -> None:
        lease, beats = self._session.lease, []

        def request() -> pb.ReportBatchRequest:
            beats.append(lease.beat(self._clock()))
            return batch

        response = await self._insisting(self._stub.ReportBatch, request, lease.seconds * DEADLINE)
        self._answered(beats[-1])
        self._session.received(pb.ServerFrame(reported_up_to=response.reported_up_to), self._clock())
        while self._batches and self._batches[0].report_number <= response.reported_up_to:
            self._batches.popleft()
        self._woken()
        self._look()

    # Both.

    async def _insisting(
        self, method: Callable[..., Awaitable[Any]], request: Callable[[], Any], seconds: float
    ) -> Any:
        """Make a call; whatever keeps its answer away, make it again."""
        while True:
            try:
                return await method(request(), timeout=seconds)
            except grpc.aio.AioRpcError as error:
                told = from_rpc_error(error)
            if not isinstance(told, PASSING):
                raise told
            self._world.trace(self._node.name, f"calls again: {told}")
            await asyncio.sleep(self._node.random.uniform(0.05, LONGEST_PAUSE))

    async def _watch_lease(self) -> None:
        while True:
            await asyncio.sleep(CHECKS)
            if self._session.check_lease(self._clock()):
                self._lost_session()
                self._interrupt()


async def _first(waits: "list[asyncio.Future[Any]]") -> None:
    """Wait until the first of some has come; the last one is given up then."""
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waits[-1].cancel()
