"""Peers out of their senses, and one in its senses beside them. All talk to one server over real gRPC."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import grpc
import grpc.aio
from fuzz.messages import Maker, methods
from google.protobuf.descriptor import MethodDescriptor

from taskyard_api.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from taskyard_contract.id_factory import new_id
from taskyard_contract.transport.channels import CLIENT_OPTIONS

CALL_SECONDS: Final = 20.0
"""For a call that waits for nothing; machines are busy."""
PATIENCE_SECONDS: Final = 30.0
"""For whoever behaves, whatever all others do."""
FOLLOW_SECONDS: Final = 1.0
"""For a call that goes on until somebody ends it."""
_FOLLOW: Final = frozenset({"WatchRuns", "TailRunLogs"})
_MAY_WAIT: Final = frozenset({"WaitRun", "Poll"}) | _FOLLOW
"""Calls that are asked to wait: their deadline is no failure."""
_FAULTS: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
_LOST_STATUS: Final = "Internal error from Core"
"""What gRPC's client makes of a status that comes while it writes. The server's own INTERNAL says more, and
is in its log."""


@dataclass
class Findings:
    """What was seen."""

    calls: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def ended(self, who: str, method: str, status: grpc.StatusCode, text: str, may_wait: bool) -> None:
        """Note how a call ended, and judge it."""
        if text == _LOST_STATUS:
            self.calls[f"{method} ended while it was written to"] += 1
            return
        self.calls[f"{method} {status.name}"] += 1
        if status in _FAULTS or (status is grpc.StatusCode.DEADLINE_EXCEEDED and not may_wait):
            self.faults.append(f"{who}: {method} ended with {status.name}: {text[:300]}")


class Fuzzer:
    """One connection; what it does follows from the seed and its number alone."""

    def __init__(self, address: str, seed: int, number: int, findings: Findings) -> None:
        """Be peer `number` of the run `seed`."""
        self._name = f"peer {number} of seed {seed}"
        self._random = Random(f"{seed}/{number}")
        self._maker = Maker(self._random)
        self._methods = methods()
        self._address = address
        self._findings = findings
        self._count = 0

    async def run(self, until: float, most: int) -> None:
        """Make one call after the other, or a few at once, until a time or so many calls have passed."""
        async with grpc.aio.insecure_channel(self._address, options=CLIENT_OPTIONS) as channel:
            while time.monotonic() < until and self._count < most:
                burst = self._random.choice([1, 1, 1, 3])
                calls = [self._prepare() for _ in range(burst)]
                await asyncio.gather(*[self._perform(channel, call) for call in calls])

    def _prepare(self) -> tuple[str, MethodDescriptor, list[bytes], str, float]:
        """Draw a whole call before anything of it happens: its answer must not decide what follows."""
        self._count += 1
        method, maker, random = self._random.choice(self._methods), self._maker, self._random
        if method.client_streaming:
            frames = list(maker.frames(method.input_type))
        else:
            frames = [maker.encoded(method.input_type)]
        ending = random.choices(["close", "cancel", "linger"], [5, 2, 1])[0]
        return f"{self._name}, call {self._count}", method, frames, ending, random.choice([0.0, 0.01, 0.2])

    async def _perform(
        self, channel: grpc.aio.Channel, call: tuple[str, MethodDescriptor, list[bytes], str, float]
    ) -> None:
        who, method, frames, ending, pause = call
        path = f"/{method.containing_service.full_name}/{method.name}"
        if who.endswith("77"):
            path += "Not"  # there is no such method
        if not method.client_streaming:
            await self._single(channel, who, method, path, frames[0], ending, pause)
            return
        kind = channel.stream_stream if method.server_streaming else channel.stream_unary
        stream = kind(path, None, None)(timeout=CALL_SECONDS)
        await self._stream(who, method, stream, frames, ending, pause)

    async def _single(
        self,
        channel: Any,
        who: str,
        method: MethodDescriptor,
        path: str,
        request: bytes,
        ending: str,
        pause: float,
    ) -> None:
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
        seconds = FOLLOW_SECONDS if method.name in _FOLLOW else CALL_SECONDS
        call = kind(path, None, None)(request, timeout=seconds)
        if ending == "cancel":
            await asyncio.sleep(pause)
            call.cancel()
        await self._note(who, method, call, ending)

    async def _stream(
        self, who: str, method: MethodDescriptor, stream: Any, frames: list[bytes], ending: str, pause: float
    ) -> None:
        reading = asyncio.create_task(_drain(stream)) if method.server_streaming else None
        try:
            for frame in frames:
                await stream.write(frame)
            await asyncio.sleep(pause)
            if ending == "close":
                await stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the server has ended it, which the status says
        if ending != "close":
            await asyncio.sleep(pause)
            stream.cancel()
        await self._note(who, method, stream, ending)
        if reading is not None:
            await reading

    async def _note(self, who: str, method: MethodDescriptor, call: Any, ending: str) -> None:
        if method.server_streaming and not method.client_streaming:
            await _drain(call)
        try:
            status, details = await call.code(), await call.details()
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            status, details = grpc.StatusCode.CANCELLED, ""
        may_wait = ending != "close" or method.name in _MAY_WAIT
        self._findings.ended(who, method.name, status, details or "", may_wait)


async def _drain(call: Any) -> None:
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass  # its status is looked at by whoever made the call


class Bystander:
    """A client in its senses: each of its calls has to be answered, whatever the others do."""

    def __init__(self, address: str, findings: Findings) -> None:
        """Call a server, and note in `findings` what goes wrong."""
        self._address = address
        self._findings = findings
        self.slowest = 0.0

    async def run(self, until: float) -> None:
        """Do what programs do, round after round."""
        async with grpc.aio.insecure_channel(self._address, options=CLIENT_OPTIONS) as channel:
            while time.monotonic() < until:
                await self._timed("GetServerInfo", self._ask(channel))
                await self._timed("a run", self._submit(channel))
                await self._timed("a session", self._connect(channel))
                await asyncio.sleep(0.1)

    async def _timed(self, what: str, work: Any) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await work
        except TimeoutError:
            self._findings.faults.append(f"whoever behaves: no answer to {what} in {PATIENCE_SECONDS:g} s")
        except grpc.aio.AioRpcError as error:
            # Being told to come back later is an answer.
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                self._findings.faults.append(
                    f"whoever behaves: {what}: {error.code().name} {error.details()}"
                )
        self.slowest = max(self.slowest, time.monotonic() - started)
        self._findings.calls[f"behaved: {what}"] += 1

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        await stub.GetServerInfo(admin_service_pb2.GetServerInfoRequest())  # type: ignore[misc]

    async def _submit(self, channel: grpc.aio.Channel) -> None:
        stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
        run = run_service_pb2.NewRun(run_id=new_id())
        run.template.name, run.template.queue, run.template.encoding = "behaved", "nobody", "json/plain"
        run.template.kind, run.template.code.task_name = 1, "behaved"
        await stub.SubmitRuns(run_service_pb2.SubmitRunsRequest(runs=[run]))
        read = await stub.GetRun(run_service_pb2.GetRunRequest(run_id=run.run_id))
        assert read.run.run_id == run.run_id
        await stub.CancelRun(run_service_pb2.CancelRunRequest(run_id=run.run_id))
        waited = await stub.WaitRun(run_service_pb2.WaitRunRequest(run_id=run.run_id, timeout_ms=1_000))
        assert waited.run.ended_us

    async def _connect(self, channel: grpc.aio.Channel) -> None:
        stub: Any = session_service_pb2_grpc.SessionServiceStub(channel)
        stream = stub.Connect()
        hello = session_service_pb2.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id())
        await stream.write(session_service_pb2.ClientFrame(hello=hello))
        assert (await stream.read()).HasField("welcome")
        await stream.write(session_service_pb2.ClientFrame(goodbye=True))
        await stream.done_writing()
        await _drain(stream)
