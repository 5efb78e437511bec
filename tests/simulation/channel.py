"""What a channel of gRPC is to a stub: it opens calls, each with a connection of its own."""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from simulation.grpc_model import EOF, NO_METADATA, ClientCall, ClientStream, Connection
from simulation.loop import Node
from simulation.net import Network, host_of


class Channel:
    """What `grpc.aio.Channel` is to a stub."""

    def __init__(self, net: Network, node: Node) -> None:
        self._net, self._node = net, node
        self._calls: list[ClientCall] = []

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        for call in self._calls:
            call.cancel()

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> Any:
        def begin() -> ClientStream:
            connection = Connection(self._net, self._node, method)
            call = ClientStream(connection, request_serializer, response_deserializer)
            self._calls.append(call)
            return call

        return begin

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> Any:
        async def once(request: Any, timeout: float | None) -> Any:
            connection = Connection(self._net, self._node, method, timeout)
            call = ClientCall(connection, request_serializer, response_deserializer)
            self._calls.append(call)
            timer = self._net.loop.call_later(timeout, call.expire) if timeout is not None else None
            try:
                return await _answer_to(call, request)
            finally:
                if timer is not None:
                    timer.cancel()
                call.cancel()
                self._calls.remove(call)

        async def again(request: Any, timeout: float | None, delay: float) -> None:
            await asyncio.sleep(delay)
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await once(request, timeout)

        async def call(request: Any, timeout: float | None = None) -> Any:
            delay = self._net.link(host_of(self._node)).doubles()
            if delay is not None:
                self._net.loop.create_task(again(request, timeout, delay))
            return await once(request, timeout)

        return call

    def _unused(self, *_: Any, **__: Any) -> None:
        """Other calls are not simulated; stubs only want to bind them."""

    unary_stream = stream_unary = _unused


async def _answer_to(call: ClientCall, request: Any) -> Any:
    """Make a unary call: its answer counts when its status has come, too."""
    try:
        await call.write(request)
        await call.done_writing()
    except asyncio.InvalidStateError:
        await call._raise_for_status()
    answer = await call.read()
    if await call.code() is not grpc.StatusCode.OK or answer is EOF:
        await call._raise_for_status()
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, NO_METADATA, NO_METADATA, "no answer")
    return answer
