"""The errors of Taskyard itself, as the control plane, the agent and the SDK know them. Pure.

    TaskyardError
      InvalidRequest            a field is missing or malformed
      UnsupportedProtocol       no protocol version in common
      ObjectNotFound            what was named is not there
        RunNotFound             no run with this id
        AgentNotFound           no such agent
        NamespaceNotFound       no such namespace
        DocumentNotFound        no document of this kind and name
      ObjectAlreadyExists       what was to be made is there
        RunExists               the id was used before, for something else
      PayloadTooLarge           arguments, a result or code exceed a limit
      Overloaded                the server has more to commit than it takes
      StorageFull               the database has no room
      StorageUnavailable        the database does not answer
      NotOwner                  another replica owns the shard
      Superseded                a newer session with the same id took over
      StreamReplaced            a newer stream of the same session is open
      AgentExists               another process is connected as this agent
      BlobNotFound              no blob with this digest
      DigestMismatch            content and digest differ
      ServerStopping            the server is going down
      UnknownSession            the server knows no such session (any more)
      Unauthenticated           the server does not know who calls
      PermissionDenied          whoever calls may not do this
      WatchExpired              what came after a resume token is not at hand any more
      VersionConflict           a document is not in the version its change was made for
      DocumentTooLarge          a document exceeds the limit
      SecretUnreadable          the server has not the key to what is secret
      RunNotResumable           a flow run has not ended, has completed, or was resumed meanwhile
      ConnectionFailed          the server could not be reached (made by clients)

A failure of user code is none of these: it is data in a run's state.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Self


class ErrorReason(IntEnum):
    """Numerically equal to ``errors.proto`` (a test proves it)."""

    UNSPECIFIED = 0
    INVALID_REQUEST = 1
    UNSUPPORTED_PROTOCOL = 2
    RUN_NOT_FOUND = 3
    RUN_EXISTS = 4
    PAYLOAD_TOO_LARGE = 5
    OVERLOADED = 6
    STORAGE_FULL = 7
    STORAGE_UNAVAILABLE = 8
    NOT_OWNER = 9
    SUPERSEDED = 10
    BLOB_NOT_FOUND = 11
    DIGEST_MISMATCH = 12
    AGENT_NOT_FOUND = 13
    STOPPING = 14
    UNKNOWN_SESSION = 16
    STREAM_REPLACED = 17
    AGENT_EXISTS = 18
    UNAUTHENTICATED = 19
    PERMISSION_DENIED = 20
    NAMESPACE_NOT_FOUND = 21
    WATCH_EXPIRED = 22
    DOCUMENT_NOT_FOUND = 23
    VERSION_CONFLICT = 24
    DOCUMENT_TOO_LARGE = 25
    SECRET_UNREADABLE = 26
    RUN_NOT_RESUMABLE = 27


class TaskyardError(Exception):
    """Something Taskyard itself refused or could not do."""

    reason: ErrorReason = ErrorReason.UNSPECIFIED

    def __init__(
        self,
        message: str = "",
        *,
        run_id: bytes = b"",
        limit: int = 0,
        retry_after: float = 0.0,
        address: str = "",
        field: str = "",
    ) -> None:
        """Describe the error.

        Args:
            message: What was wrong, where, and what to do.
            run_id: The run it is about.
            limit: The limit that was exceeded, in bytes or items.
            retry_after: Seconds to wait before repeating; 0 means do not repeat unchanged.
            address: The replica to call instead.
            field: The field of the request that is wrong, as a path.
        """
        super().__init__(message or (self.__doc__ or "").strip())
        self.run_id = run_id
        self.limit = limit
        self.retry_after = retry_after
        self.address = address
        self.field = field

    def inside(self, where: str) -> Self:
        """Return the same error, whose field is one of what is found at `where` in the request."""
        field = f"{where}.{self.field}" if self.field else where
        return type(self)(
            str(self), run_id=self.run_id, limit=self.limit, retry_after=self.retry_after,
            address=self.address, field=field,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Make the error picklable: it crosses process boundaries inside results."""
        details = self.run_id, self.limit, self.retry_after, self.address, self.field
        return _rebuild, (type(self), str(self), *details)


def _rebuild(
    kind: type[TaskyardError],
    message: str,
    run_id: bytes,
    limit: int,
    retry_after: float,
    address: str,
    field: str = "",  # errors that 0.1.0 has pickled have none
) -> TaskyardError:
    return kind(message, run_id=run_id, limit=limit, retry_after=retry_after, address=address, field=field)


class InvalidRequest(TaskyardError):
    """A field of the request is missing or malformed."""

    reason = ErrorReason.INVALID_REQUEST


class UnsupportedProtocol(TaskyardError):
    """The two sides have no protocol version in common; upgrade the older one."""

    reason = ErrorReason.UNSUPPORTED_PROTOCOL


class ObjectNotFound(TaskyardError):
    """What was named is not there."""


class ObjectAlreadyExists(TaskyardError):
    """What was to be made is there."""


class RunNotFound(ObjectNotFound):
    """There is no run with this id."""

    reason = ErrorReason.RUN_NOT_FOUND


class RunExists(ObjectAlreadyExists):
    """This run id was submitted before, with other content."""

    reason = ErrorReason.RUN_EXISTS


class PayloadTooLarge(TaskyardError):
    """A payload is larger than the server takes."""

    reason = ErrorReason.PAYLOAD_TOO_LARGE


class Overloaded(TaskyardError):
    """The server has more work to commit than it takes; repeat after the delay."""

    reason = ErrorReason.OVERLOADED


class StorageFull(TaskyardError):
    """The control plane's database has no room; free some, then repeat."""

    reason = ErrorReason.STORAGE_FULL


class StorageUnavailable(TaskyardError):
    """The control plane's database does not answer; repeat after the delay."""

    reason = ErrorReason.STORAGE_UNAVAILABLE


class NotOwner(TaskyardError):
    """Another replica owns this shard; call the address given."""

    reason = ErrorReason.NOT_OWNER


class Superseded(TaskyardError):
    """A newer session with the same id took over."""

    reason = ErrorReason.SUPERSEDED


class StreamReplaced(TaskyardError):
    """A newer stream of the same session is open, or has been; the session goes on with that one."""

    reason = ErrorReason.STREAM_REPLACED


class AgentExists(TaskyardError):
    """Another process is connected as the agent of this name."""

    reason = ErrorReason.AGENT_EXISTS


class BlobNotFound(TaskyardError):
    """The blob store has no blob with this digest."""

    reason = ErrorReason.BLOB_NOT_FOUND


class DigestMismatch(TaskyardError):
    """The content does not have the digest it was sent under."""

    reason = ErrorReason.DIGEST_MISMATCH


class AgentNotFound(ObjectNotFound):
    """No such agent is connected."""

    reason = ErrorReason.AGENT_NOT_FOUND


class ServerStopping(TaskyardError):
    """The server is stopping; reconnect after the delay."""

    reason = ErrorReason.STOPPING


class UnknownSession(TaskyardError):
    """The server does not know this session; say hello again, with what is held."""

    reason = ErrorReason.UNKNOWN_SESSION


class Unauthenticated(TaskyardError):
    """The server does not know who calls; check the credentials."""

    reason = ErrorReason.UNAUTHENTICATED


class PermissionDenied(TaskyardError):
    """Whoever calls may not do this."""

    reason = ErrorReason.PERMISSION_DENIED


class NamespaceNotFound(ObjectNotFound):
    """There is no namespace of this name."""

    reason = ErrorReason.NAMESPACE_NOT_FOUND


class WatchExpired(TaskyardError):
    """What came after this resume token is not at hand any more; list again, and watch from there."""

    reason = ErrorReason.WATCH_EXPIRED


class DocumentNotFound(ObjectNotFound):
    """There is no document of this kind and name."""

    reason = ErrorReason.DOCUMENT_NOT_FOUND


class VersionConflict(TaskyardError):
    """A document is not in the version its change was made for; read it again, then decide."""

    reason = ErrorReason.VERSION_CONFLICT


class DocumentTooLarge(TaskyardError):
    """A document is larger than the server takes; keep large values as results or files."""

    reason = ErrorReason.DOCUMENT_TOO_LARGE


class SecretUnreadable(TaskyardError):
    """The server has no key for secrets, or not the one that this secret was encrypted with."""

    reason = ErrorReason.SECRET_UNREADABLE


class RunNotResumable(TaskyardError):
    """A run that is no flow run, has not ended, has completed, or was resumed by somebody else."""

    reason = ErrorReason.RUN_NOT_RESUMABLE


class ConnectionFailed(TaskyardError):
    """The control plane could not be reached."""


def _below(kind: type[TaskyardError]) -> Iterator[type[TaskyardError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


BY_REASON: dict[int, type[TaskyardError]] = {
    kind.reason: kind for kind in _below(TaskyardError) if kind.reason
}
