"""Translates errors to statuses, once for all services.

Invariant: a caller sees a `TaskyardError` with its detail, or INTERNAL with a reference to the log; never
the text of an exception nobody expected, and never a call that ends without a status.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_contract.transport.rpc_errors import to_status
from taskyard_controlplane.domain.namespaces import check_namespace
from taskyard_controlplane.rpc.streams import Received

_log = logging.getLogger(__name__)

_OURS: Final = "/taskyard_api."
"""What the names of our methods begin with; reflection has a stream of its own."""

_Behavior = Callable[[Any, Any], Any]
_Deserializer = Callable[[bytes], Any]


class _Malformed:
    """Stands for a request that could not be parsed.

    gRPC parses the request of a unary call before any of our code runs and would answer UNKNOWN and write
    a traceback, so the parser hands over this instead of failing.
    """


_MALFORMED: Final = _Malformed()


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Guards every handler of a server."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Return the handler so that its errors, and malformed requests, become statuses with details."""
        handler = await continuation(handler_call_details)
        return None if handler is None else _guarded(handler, handler_call_details.method)


def _guarded(handler: Any, method: str) -> Any:
    serializer = handler.response_serializer
    parse = handler.request_deserializer
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.stream_stream, method),
            _measured(_strict(parse, method), method),
            serializer,
        )
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(
            _unary(handler.stream_unary, method), _strict(parse, method), serializer
        )
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _streaming(handler.unary_stream, method), _tolerant(parse), serializer
        )
    return grpc.unary_unary_rpc_method_handler(
        _unary(handler.unary_unary, method), _tolerant(parse), serializer
    )


def _malformed(method: str) -> InvalidRequest:
    return InvalidRequest(f"a message for {method} could not be parsed; is the client's contract the same?")


def _check(request: Any, method: str) -> None:
    """Check what all our requests have in common; those that come in parts, where they are read."""
    if request is _MALFORMED:
        raise _malformed(method)
    check_namespace(getattr(request, "namespace", ""))


def _tolerant(parse: _Deserializer | None) -> _Deserializer | None:
    def parsed(data: bytes) -> Any:
        try:
            return parse(data) if parse is not None else data
        except DecodeError:
            return _MALFORMED

    return None if parse is None else parsed


def _strict(parse: _Deserializer | None, method: str) -> _Deserializer | None:
    """Frames of a stream are parsed while the handler reads them: it gets the error where it reads."""

    def parsed(data: bytes) -> Any:
        try:
            return parse(data) if parse is not None else data
        except DecodeError:
            raise _malformed(method) from None

    return None if parse is None else parsed


def _measured(parse: _Deserializer | None, method: str) -> _Deserializer | None:
    """Hand frames of our streams over with the bytes they took: a message is written to find out its size."""
    if parse is None or not method.startswith(_OURS):
        return parse
    return lambda data: Received(parse(data), len(data))


def _unary(behavior: _Behavior, method: str) -> _Behavior:
    async def call(request: Any, context: Any) -> Any:
        try:
            _check(request, method)
            return await behavior(request, context)
        except Exception as error:
            request = None  # an aborted call refers to itself, and this would wait for the garbage collector
            return await _end(error, method, context)

    return call


def _streaming(behavior: _Behavior, method: str) -> _Behavior:
    async def call(request: Any, context: Any) -> None:
        try:
            _check(request, method)
            answer = behavior(request, context)
            if isinstance(answer, AsyncIterator):
                await _write_all(answer, context)
            else:
                await answer
        except Exception as error:
            request = answer = None  # as above
            await _end(error, method, context)

    return call


async def _write_all(messages: Any, context: Any) -> None:
    async with aclosing(messages):
        async for message in messages:
            await context.write(message)


async def _end(error: Exception, method: str, context: Any) -> None:
    """End a call with the status of an error."""
    if isinstance(error, grpc.aio.AbortError):
        raise error  # a handler has ended the call itself
    if isinstance(error, grpc.aio.InternalError) or context.done() or context.cancelled():
        # The first of these is a message that could not be sent: what gRPC has no more words for, and what
        # comes a moment before it knows the call to be over.
        _log.debug("%s: %r after the client had left", method, error)
        return
    if not isinstance(error, TaskyardError):
        reference = secrets.token_hex(4)
        _log.error("%s failed [%s]", method, reference, exc_info=error)
        error.__traceback__ = None
        error = TaskyardError(f"the server failed; its log has the details under {reference}")
    # gRPC keeps what a call was aborted with, and by its traceback it would keep the frame that was refused.
    error.__traceback__ = None
    await context.abort_with_status(to_status(error))
