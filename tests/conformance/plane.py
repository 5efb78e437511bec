"""A control plane without any mind of its own: every call waits until a script answers it.

All methods are served in one way, as streams in both directions, which on the wire is what the others are
special cases of. A script takes the calls of a method in the order in which they came, and says what becomes
of each.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
from conformance.verdict import Broken, fail
from google.protobuf import any_pb2, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from taskyard_api.v1 import (
    admin_service_pb2,
    agent_service_pb2,
    blob_service_pb2,
    common_pb2,
    errors_pb2,
    run_service_pb2,
    session_service_pb2,
)

PATIENCE = 20.0
"""Seconds that a program has for its next step: it may have to be compiled, and the machine may be busy."""
FRAME_BYTES = 16 * 1024 * 1024
LIMITS = common_pb2.Limits(
    frame_bytes=FRAME_BYTES,
    inline_bytes=64 * 1024,
    payload_bytes=128 * 1024 * 1024,
    frame_runs=1_024,
    submit_runs=1_000,
    frame_items=131_072,
    name_bytes=1_024,
    held_runs=10_000,
    page_size=1_000,
    wait_ms=60_000,
)
_SERVICES = [
    service
    for module in (
        admin_service_pb2, agent_service_pb2, blob_service_pb2, run_service_pb2, session_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]  # fmt: skip


class Call:
    """One call of a program, from its first message to its status."""

    def __init__(self, method: str, context: Any) -> None:
        self.method = method
        self.at = time.monotonic()
        """When it came."""
        self.request: Any = None
        """What was asked, unless the caller streams."""
        self._context = context
        self._received: asyncio.Queue[Any] = asyncio.Queue()
        self._writing = asyncio.Lock()
        self._status: asyncio.Future[status_pb2.Status | None] = asyncio.get_running_loop().create_future()

    def deadline(self) -> float | None:
        """Return for how many seconds the caller waits; None for no end."""
        remaining: float | None = self._context.time_remaining()
        return remaining

    async def receive(self) -> Any:
        """Return the next message of a caller that streams, None when there is no other."""
        return await self._received.get()

    async def send(self, message: Message) -> None:
        """Send a message; one that nobody receives any more is lost in silence."""
        async with self._writing:
            if not self._status.done():
                with suppress(aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError):
                    await self._context.write(message)

    async def answer(self, message: Message) -> None:
        """Send the only message, and end the call well."""
        await self.send(message)
        await self.end()

    async def end(self, status: status_pb2.Status | None = None) -> None:
        """End the call, well unless a status says otherwise."""
        async with self._writing:
            if not self._status.done():
                self._status.set_result(status)

    async def refuse(self, code: int, reason: int = 0, message: str = "", **detail: Any) -> None:
        """End the call with a code and, if a reason is given, with the contract's detail."""
        status = status_pb2.Status(code=code, message=message or f"refused by the script ({self.method})")
        if reason:
            packed = any_pb2.Any()
            packed.Pack(errors_pb2.ErrorDetail(reason=reason, **detail))  # type: ignore[arg-type]
            status.details.append(packed)
        await self.end(status)

    async def hang_up(self) -> None:
        """End the call as a server does that goes down."""
        await self.refuse(code_pb2.UNAVAILABLE, message="the connection was lost")

    async def serve(self, streams: bool, arrived: Callable[["Call"], None]) -> None:
        """Live through the call."""
        reading = asyncio.create_task(self._read())
        try:
            if not streams:
                self.request = await self.receive()
            arrived(self)
            status = await self._status
        except asyncio.CancelledError:
            self._status.cancel()  # the caller has gone
            raise
        finally:
            reading.cancel()
            self._received.put_nowait(None)
        if status is not None:
            await self._context.abort_with_status(rpc_status.to_status(status))

    async def _read(self) -> None:
        with suppress(aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError):
            while (message := await self._context.read()) is not aio.EOF:
                self._received.put_nowait(message)
        self._received.put_nowait(None)


class Plane:
    """The server. Calls wait in the order in which they came, by method."""

    def __init__(self) -> None:
        self.address = ""
        self._calls: dict[str, asyncio.Queue[Call]] = defaultdict(asyncio.Queue)
        self._arrived = asyncio.Event()
        self._server: aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:0") -> None:
        """Listen; `address` says where."""
        self._server = aio.server(options=[("grpc.max_receive_message_length", FRAME_BYTES)])
        self._server.add_generic_rpc_handlers(tuple(self._handlers()))
        self.address = f"{address.rpartition(':')[0]}:{self._server.add_insecure_port(address)}"
        await self._server.start()

    async def stop(self) -> None:
        """End, with whatever is under way."""
        if self._server is not None:
            await self._server.stop(0.2)

    async def call(self, method: str, within: float = PATIENCE) -> Call:
        """Return the next call of a method.

        Raises:
            Broken: None came in time.
        """
        try:
            async with asyncio.timeout(within):
                return await self._calls[method].get()
        except TimeoutError:
            others = sorted(name for name, calls in self._calls.items() if not calls.empty())
            called = f"; it called {', '.join(others)}" if others else ""
            fail(f"the program did not call {method} within {within:g} s{called}")

    def unanswered(self) -> str:
        """Name a call that came and that no script expected; empty when there is none."""
        return next((name for name, calls in self._calls.items() if not calls.empty()), "")

    async def unexpected(self, within: float = PATIENCE) -> str:
        """Wait for a call that no script takes; returns its name, empty when none came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self.unanswered():
                    self._arrived.clear()
                    await self._arrived.wait()
        return self.unanswered()

    def _handlers(self) -> Iterator[grpc.GenericRpcHandler]:
        for service in _SERVICES:
            methods = {method.name: self._handler(method) for method in service.methods}
            yield grpc.method_handlers_generic_handler(service.full_name, methods)

    def _handler(self, method: MethodDescriptor) -> Any:
        name = method.name if method.name != "Connect" else method.full_name.split(".", 2)[2]

        def arrived(call: Call) -> None:
            self._calls[name].put_nowait(call)
            self._arrived.set()

        async def behaviour(_: object, context: Any) -> None:
            if name == "GetServerInfo":  # whenever a program likes to ask
                await context.write(server_info())
                return
            await Call(name, context).serve(method.client_streaming, arrived)

        request = message_factory.GetMessageClass(method.input_type)
        return grpc.stream_stream_rpc_method_handler(
            behaviour, request.FromString, lambda message: message.SerializeToString()
        )


def server_info() -> admin_service_pb2.GetServerInfoResponse:
    """Describe this server."""
    return admin_service_pb2.GetServerInfoResponse(
        version="conformance", protocol_min=2, protocol_max=2, database="none", limits=LIMITS
    )


__all__ = ["LIMITS", "PATIENCE", "Broken", "Call", "Plane", "server_info"]
