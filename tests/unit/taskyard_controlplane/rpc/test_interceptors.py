"""What a call is refused with keeps nothing of the call."""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.rpc.interceptors import _guarded
from taskyard_controlplane.rpc.streams import Outgoing


class Large:
    """A message that somebody would not want to keep."""


class Context:
    """The context of a call, which keeps what it was aborted with as gRPC's does."""

    aborted: BaseException

    def done(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    async def abort_with_status(self, status: Any) -> None:
        self.aborted = grpc.aio.AbortError("aborted")
        raise self.aborted


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
def test_a_refused_message_is_let_go_without_the_garbage_collector(kind: str) -> None:
    alive: list[weakref.ref[Large]] = []

    async def behavior(request: Large, context: Context) -> None:
        frame = Large()
        alive.extend([weakref.ref(request), weakref.ref(frame)])
        raise InvalidRequest("no")

    handler = getattr(grpc, f"{kind}_rpc_method_handler")(behavior)
    call, context = getattr(_guarded(handler, "a method"), kind), Context()
    gc.disable()
    try:
        with pytest.raises(grpc.aio.AbortError):
            asyncio.run(call(Large(), context))
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


def test_a_stream_lets_the_frame_go_that_it_ended_with() -> None:
    alive: list[weakref.ref[Large]] = []

    class Stream(Context):
        async def write(self, frame: Large) -> None:
            """Send nothing."""

    async def read() -> None:
        frame = Large()
        alive.append(weakref.ref(frame))
        raise InvalidRequest("no")

    async def behavior(request: None, context: Stream) -> None:
        outgoing = Outgoing(context)
        await outgoing.serve(read(), lambda: None, Large(), lambda: None, lambda: None)  # type: ignore[arg-type]

    handler, context = _guarded(grpc.stream_stream_rpc_method_handler(behavior), "a method"), Stream()
    gc.disable()
    try:
        with pytest.raises(grpc.aio.AbortError):
            asyncio.run(handler.stream_stream(None, context))
        assert alive[0]() is None
    finally:
        gc.enable()


def test_who_leaves_while_being_answered_is_no_failure_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Left(Context):
        async def write(self, message: object) -> None:
            raise grpc.aio.InternalError("the message could not be sent")

    async def behavior(request: object, context: Context) -> AsyncIterator[object]:
        yield object()

    handler = grpc.unary_stream_rpc_method_handler(behavior)
    asyncio.run(_guarded(handler, "a method").unary_stream(object(), Left()))
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
