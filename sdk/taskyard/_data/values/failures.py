"""Exceptions of user code on their way to the control plane.

Invariant: writing one never fails; what cannot be pickled is described in words.
"""

import traceback
from types import TracebackType
from typing import Any, Final

from taskyard import _durable_names
from taskyard.exceptions import TerminationSignal
from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract import pickling
from taskyard_contract.encodings import PICKLE
from taskyard_contract.wire_text import cut, cut_front

TRACEBACK_LIMIT: Final = 32 * 1024
ENCODED_LIMIT: Final = 48 * 1024
_CHAIN: Final = 4
_OWN_MODULES: Final = ("taskyard.", "taskyard_agent.")


def failure_of(error: BaseException, depth: int = _CHAIN) -> failure_pb2.Failure:
    """Write an exception, and those that caused it, as a message."""
    failure = failure_pb2.Failure(
        type=_type_name(error),
        message=cut(_text(error)),
        traceback=cut_front(_format(error), TRACEBACK_LIMIT),
    )
    encoded = _pickled(error)
    if encoded is not None:
        failure.encoded.CopyFrom(common_pb2.Payload(encoding=PICKLE, data=encoded))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth:
        failure.cause.CopyFrom(failure_of(cause, depth - 1))
    return failure


def message_of(error: BaseException, kind: str = "Task") -> str:
    """Say what ended a run, without its traceback."""
    text = cut(_text(error))
    return f"{kind} run encountered an exception {_type_name(error)}" + (f": {text}" if text else "")


def interruption_of(error: BaseException) -> str:
    """Say what interrupted a run."""
    if isinstance(error, KeyboardInterrupt):
        return "Execution was aborted by an interrupt signal."
    if isinstance(error, SystemExit):
        return "Execution was aborted by Python system exit call."
    if isinstance(error, TerminationSignal):
        return "Execution was aborted by a termination signal."
    return f"Execution was cancelled by the runtime environment ({_type_name(error)})."


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # user code may fail even here
        return f"<{type(error).__name__} whose text could not be made>"


def _pickled(error: BaseException) -> bytes | None:
    """Return the exception pickled, unless that fails, is too large, or cannot be read again."""
    for form in (error, _Parts(error)):
        try:
            data = pickling.dumps(form)
            if type(pickling.loads(data)) is type(error):
                return data if len(data) <= ENCODED_LIMIT else None
        except Exception:  # foreign code: whatever it raises, the words remain
            continue
    return None


class _Parts:
    """Pickles as an exception whose constructor wants other arguments than pickle gives it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        kept = {name: value for name, value in vars(error).items() if _travels(value)}
        return _durable_names.exception, (type(error), error.args, kept)


def _travels(value: object) -> bool:
    try:
        pickling.dumps(value)
    except Exception:  # foreign code; the attribute stays behind, the exception need not
        return False
    return True


def _format(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _user_frames(error), chain=False))
    except Exception:  # the exception's own text may fail
        return ""


def _user_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback without Taskyard's own frames at its top."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _is_own(frames):
        frames = frames.tb_next
    return frames


def _is_own(frames: TracebackType) -> bool:
    name: str = frames.tb_frame.f_globals.get("__name__", "")
    return name.startswith(_OWN_MODULES)
