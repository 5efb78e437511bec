"""Failures of runs as exceptions, where the exception object itself is not there.

A worker in another language has no object to send, and neither has a Python worker for an exception that
cannot be pickled, or for a run whose arguments are no pickles. What there is are words, and here they
become an
exception: of the class that was registered under the name of the failure's type, otherwise a `RemoteError`.

The exceptions of this module are seen, and pickled, as those of ``taskyard.exceptions``.
"""

from typing import TYPE_CHECKING, Any, Final, TypeVar

from taskyard_contract.errors import TaskyardError

if TYPE_CHECKING:
    # Programs that only submit import this module and not yet the messages.
    from taskyard_api.v1 import failure_pb2

E = TypeVar("E", bound=type[BaseException])

_registered: Final[dict[str, type[BaseException]]] = {}


class FailedRun(TaskyardError):
    """The run failed, and the exception object itself is not available."""


class RemoteError(FailedRun):
    """A failure of a run that arrived in words, as those of other languages do."""

    def __init__(
        self,
        type: str = "",
        message: str = "",
        traceback: str = "",
        cause: BaseException | None = None,
        *,
        source: str = "",
        **details: Any,
    ) -> None:
        """Describe the failure.

        Args:
            type: The name of its type, where it was raised: "ImageTooLarge".
            message: Its text.
            traceback: The traceback, as its language writes it.
            cause: The failure behind it.
            source: The language: "go".
            **details: See `TaskyardError`.
        """
        super().__init__(f"{type}: {message}" if type and message else type or message, **details)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.source = source
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException | None:
        """The failure behind this one, if one was told."""
        return self.__cause__

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the words it was made of; what is behind it stays, as with every exception."""
        return self.__class__, (self.type, self.message, self.traceback), dict(vars(self))


for _kind in (FailedRun, RemoteError):
    _kind.__module__ = "taskyard.exceptions"


def register_error(type_name: str, exception_class: E) -> E:
    """Let failures of a type arrive as an exception of a class of one's own.

    Args:
        type_name: The type as workers report it, for example "ImageTooLarge".
        exception_class: Called with the failure's text.

    Returns:
        The class.

    Raises:
        TypeError: It is no class of exceptions.
    """
    if not (isinstance(exception_class, type) and issubclass(exception_class, BaseException)):
        raise TypeError(f"'exception_class' must be a class of exceptions, got {exception_class!r}")
    if not isinstance(type_name, str) or not type_name:
        raise TypeError(f"'type_name' must be the name of an error's type, got {type_name!r}")
    _registered[type_name] = exception_class
    return exception_class


def error_of(failure: "failure_pb2.Failure") -> BaseException:
    """Make an exception of a failure's words, without its cause."""
    kind = _registered.get(failure.type)
    error = _made(kind, failure.message) if kind is not None else None
    if error is not None:  # exceptions may have a truth of their own
        return error
    return RemoteError(failure.type, failure.message, failure.traceback, source=failure.source)


def _made(kind: type[BaseException], message: str) -> BaseException | None:
    try:
        return kind(message)
    except Exception:  # foreign code, which may want other arguments
        return None
