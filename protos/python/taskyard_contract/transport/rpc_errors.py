"""Errors on the wire: the one module that knows how a `TaskyardError` travels as ``google.rpc.Status``.

Invariant: every `ErrorReason` has exactly one status code, and a round trip gives the same error back.
"""

from typing import Any, Final, Protocol

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from taskyard_api.v1 import errors_pb2
from taskyard_contract.errors import (
    BY_REASON,
    ConnectionFailed,
    ErrorReason,
    PermissionDenied,
    TaskyardError,
    Unauthenticated,
)

_CODES: Final[dict[int, grpc.StatusCode]] = {
    ErrorReason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.UNSUPPORTED_PROTOCOL: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.RUN_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.RUN_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorReason.PAYLOAD_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.STORAGE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.STORAGE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.NOT_OWNER: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.SUPERSEDED: grpc.StatusCode.ABORTED,
    ErrorReason.BLOB_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.DIGEST_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.AGENT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.STOPPING: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.UNKNOWN_SESSION: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.STREAM_REPLACED: grpc.StatusCode.ABORTED,
    ErrorReason.AGENT_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorReason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.NAMESPACE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.WATCH_EXPIRED: grpc.StatusCode.OUT_OF_RANGE,
    ErrorReason.DOCUMENT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.VERSION_CONFLICT: grpc.StatusCode.ABORTED,
    ErrorReason.DOCUMENT_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.SECRET_UNREADABLE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.RUN_NOT_RESUMABLE: grpc.StatusCode.FAILED_PRECONDITION,
}


_KEPT_OUT: Final[dict[Any, type[TaskyardError]]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}


_PLAIN: Final = (
    "connection refused",
    "no such file or directory",
    "permission denied",
    "no route to host",
    "network is unreachable",
    "connection timed out",
    "connection reset by peer",
    "DNS resolution failed",
    "domain name not found",
)
"""What is wrong with a connection, as people know it: gRPC has it at the end of a long line about itself."""
_LONGEST_DETAILS: Final = 200
_RESET: Final = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})


class RpcErrorLike(Protocol):
    """What ``grpc.RpcError`` and ``grpc.aio.AioRpcError`` have in common."""

    def code(self) -> Any: ...
    def details(self) -> Any: ...
    def trailing_metadata(self) -> Any: ...


def status_code(error: TaskyardError) -> grpc.StatusCode:
    """Return the canonical code an error travels under."""
    return _CODES.get(error.reason, grpc.StatusCode.INTERNAL)


def code_number(error: TaskyardError) -> int:
    """Return the same code as a number (``google.rpc.Code``)."""
    return int(status_code(error).value[0])


def to_detail(error: TaskyardError) -> errors_pb2.ErrorDetail:
    """Write an error as its detail message."""
    return errors_pb2.ErrorDetail(
        reason=error.reason,  # type: ignore[arg-type]  # the enums are numerically equal
        run_id=error.run_id,
        limit=error.limit,
        retry_after_ms=round(error.retry_after * 1000),
        address=error.address,
        field=error.field,
    )


def from_detail(detail: errors_pb2.ErrorDetail, message: str) -> TaskyardError:
    """Read an error back from its detail message."""
    kind = BY_REASON.get(detail.reason, TaskyardError)
    return kind(
        message,
        run_id=detail.run_id,
        limit=detail.limit,
        retry_after=detail.retry_after_ms / 1000,
        address=detail.address,
        field=detail.field,
    )


def to_status(error: TaskyardError) -> Any:
    """Return the status to abort a call with (``context.abort_with_status``)."""
    details = [_packed(to_detail(error))]
    if error.retry_after:
        details.append(_packed(_delay(error.retry_after)))
    status = status_pb2.Status(code=code_number(error), message=str(error), details=details)
    return rpc_status.to_status(status)


def _delay(seconds: float) -> Message:
    """Say when to repeat as all APIs do: some libraries wait for so long by themselves."""
    # Imported here because only servers say it, and the start of a client's program counts.
    from google.protobuf.duration_pb2 import Duration
    from google.rpc.error_details_pb2 import RetryInfo

    delay = Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    info: Message = RetryInfo(retry_delay=delay)
    return info


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def from_rpc_error(error: RpcErrorLike) -> TaskyardError:
    """Translate what gRPC raised into a `TaskyardError`.

    A status without our detail comes from the transport: nobody reached, or a deadline; or from somebody in
    between, who asks for credentials for example.
    """
    status = rpc_status.from_call(error)
    for packed in status.details if status is not None else ():
        detail = errors_pb2.ErrorDetail()
        if packed.Unpack(detail):
            return from_detail(detail, str(error.details()))
    text = _plain(error)
    kept_out = _KEPT_OUT.get(error.code())
    if kept_out is not None:
        return kept_out(f"the control plane does not let this program in ({text}); check its credentials")
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return ConnectionFailed(f"the control plane could not be reached ({text})", retry_after=1.0)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return TaskyardError(
            f"the control plane is older than this program, and cannot do this; update it ({text})"
        )
    return TaskyardError(f"the control plane refused the call ({text})")


def _plain(error: RpcErrorLike) -> str:
    """Return what is wrong in the words of the operating system, where gRPC quotes them."""
    details = str(error.details())
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        known = next((text for text in _PLAIN if text.lower() in details.lower()), "")
        if known:
            return known
    if len(details) > _LONGEST_DETAILS:
        details = f"{details[:_LONGEST_DETAILS]}..."
    return f"{error.code().name.lower().replace('_', ' ')}: {details}"


def was_reset(error: RpcErrorLike) -> bool:
    """Whether somebody on the way, a proxy for example, ended a call that its caller did not cancel."""
    return error.code() in _RESET and rpc_status.from_call(error) is None
