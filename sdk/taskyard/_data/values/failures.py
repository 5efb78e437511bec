"""Failures of user code: said in words, and read back as the exceptions that they were.

Reading one back must not fail: an exception that cannot be rebuilt here, because its class is not installed
or its pickle is damaged, is replaced by one of Taskyard's own that says what it was.
"""

from collections.abc import Callable
from typing import Any, Final

from taskyard._durable_names import public
from taskyard.exceptions import FailedRun, TaskyardError, TerminationSignal
from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract.failures import text_of, type_name
from taskyard_contract.languages.remote_errors import error_of

Decode = Callable[[common_pb2.Payload], Any]
"""Turns a payload into a value."""

_WHERE: Final = "\nWhere it was raised:\n"
_FRAMES: Final = "File "
"""Is in every traceback that says more than the exception's own text."""


def message_of(error: BaseException, kind: str = "Task") -> str:
    """Say what ended a run, without its traceback."""
    text = text_of(error)
    return f"{kind} run encountered an exception {type_name(error)}" + (f": {text}" if text else "")


def interruption_of(error: BaseException) -> str:
    """Say what interrupted a run."""
    if isinstance(error, KeyboardInterrupt):
        return "Execution was aborted by an interrupt signal."
    if isinstance(error, SystemExit):
        return "Execution was aborted by Python system exit call."
    if isinstance(error, TerminationSignal):
        return "Execution was aborted by a termination signal."
    return f"Execution was cancelled by the runtime environment ({type_name(error)})."


@public("taskyard.states")
def exception_of(
    failure: failure_pb2.Failure, decode: Decode, fallback: type[TaskyardError] = FailedRun
) -> BaseException:
    """Rebuild the exception that a failure describes.

    The traceback of the process where it was raised is added as a note, and the exception that caused
    it is rebuilt too.

    Args:
        failure: The recorded failure.
        decode: Turns a payload into a value.
        fallback: The type to use when the exception object is not available; `FailedRun` stands for the class
            that was registered for the failure's type, or `RemoteError`.
    """
    exception = _decoded_exception(failure, decode) or _in_words(failure, fallback)
    if _FRAMES in failure.traceback:
        _note_frames(exception, failure.traceback.rstrip())
    if failure.HasField("cause"):
        exception.__cause__ = exception_of(failure.cause, decode)
    return exception


def _note_frames(exception: BaseException, frames: str) -> None:
    """Note where an exception was raised; what was noted of it on its way here is in that already."""
    notes: Any = getattr(exception, "__notes__", None)
    if isinstance(notes, list):
        notes[:] = [note for note in notes if not (str(note).startswith(_WHERE) and str(note) in frames)]
    exception.add_note(f"{_WHERE}{frames}")


def _decoded_exception(failure: failure_pb2.Failure, decode: Decode) -> BaseException | None:
    if not failure.HasField("encoded"):
        return None
    try:
        value = decode(failure.encoded)
    except Exception:  # unpickling runs foreign code: its class may be missing, or refuse
        return None
    return value if isinstance(value, BaseException) else None


def _in_words(failure: failure_pb2.Failure, fallback: type[TaskyardError]) -> BaseException:
    """Make an exception of the words there are; of a run that was ended from outside, the kind says more."""
    return error_of(failure) if fallback is FailedRun else fallback(_text(failure))


def _text(failure: failure_pb2.Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type
