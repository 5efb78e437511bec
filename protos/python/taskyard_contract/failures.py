"""Exceptions of user code on their way to the control plane.

Invariant: writing one never fails. What cannot be pickled, or is too large, is told in words, and text that
is no text becomes an escape sequence. Writing executes foreign code (`__str__`, `__reduce__`, constructors),
and whatever of `FOREIGN` that raises is survived, so that the run ends with its failure all the same.
"""

from typing import Any, Final

from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract import code_lines, durable_names, pickling
from taskyard_contract.encodings import PICKLE
from taskyard_contract.for_people import tracebacks
from taskyard_contract.wire_failures import CHAIN_LENGTH, ENCODED_LIMIT, TRACEBACK_LIMIT
from taskyard_contract.wire_text import MESSAGE_LIMIT, NAME_LIMIT, cut, cut_front
from taskyard_contract.world import inherited

FOREIGN: Final = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
"""All that Python itself defines, exit calls included. Others are let through: with exceptions of their own,
signal handlers end a program that is told to terminate, and that must not be lost here."""
SOURCE: Final = "python"
"""The language, for readers in other ones."""


def failure_of(
    error: BaseException, *, encoding: str = PICKLE, causes: int = CHAIN_LENGTH
) -> failure_pb2.Failure:
    """Write an exception, and those that caused it, as a message.

    Args:
        error: What was raised.
        encoding: How its readers write values: only those who read pickles get the object itself.
        causes: How many exceptions behind this one are told too.
    """
    inherited.explain(error)
    failure = failure_pb2.Failure(
        type=type_name(error),
        message=text_of(error),
        traceback=cut_front(_format(error), TRACEBACK_LIMIT),
        source=SOURCE,
    )
    encoded = _pickled(error) if encoding == PICKLE else None
    if encoded is not None:
        failure.encoded.CopyFrom(common_pb2.Payload(encoding=PICKLE, data=encoded))
    cause = _behind(error)
    if cause is not None and causes:
        failure.cause.CopyFrom(failure_of(cause, encoding=encoding, causes=causes - 1))
    return failure


def _behind(error: BaseException) -> BaseException | None:
    """Return, as Python itself shows it, what it was raised from, otherwise what was being handled."""
    try:
        # Compared with None: exceptions may have a truth of their own, as those with a length have.
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
    except FOREIGN:  # classes may have properties of these names, or answer for every name
        return None
    return cause if isinstance(cause, BaseException) else None


def type_name(error: BaseException) -> str:
    """Return the name of an exception's class, with its module unless it is Python's own."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return cut(name, NAME_LIMIT)


def text_of(error: BaseException) -> str:
    """Return what an exception says of itself, cut so that a message can hold it."""
    try:
        return cut(str(error))
    except FOREIGN as broken:
        names = type(error).__qualname__, type(broken).__qualname__
        return cut("<{}, whose text could not be made: {}>".format(*names))


def _pickled(error: BaseException) -> bytes | None:
    """Return the exception pickled: whole, or cut so that its type remains; None if that does not work."""
    for form in (error, _Parts(error), _Cut(error)):
        try:
            data = pickling.dumps(form)
            # Many exceptions can be written and not be read: their constructor wants other arguments.
            if len(data) > ENCODED_LIMIT or type(read := pickling.loads(data)) is not type(error):
                continue
            if isinstance(form, _Cut):
                str(read)  # which may need what was left out
            return data
        except FOREIGN:  # the words remain
            continue
    return None


class _Parts:
    """Pickles as an exception whose constructor wants other arguments than pickle gives it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        kept = {name: value for name, value in vars(error).items() if _travels(value)}
        return durable_names.exception, (type(error), error.args, kept)


_CUT_ARGUMENTS: Final = 64
_LARGE: Final = object()


class _Cut(_Parts):
    """Pickles as an exception that is too large, without what makes it so: it is still caught by its type."""

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        args = error.args[:_CUT_ARGUMENTS]
        most = min(MESSAGE_LIMIT, ENCODED_LIMIT // 2 // (len(args) + len(vars(error)) + 1))
        kept = {name: _shortened(value, most) for name, value in vars(error).items()}
        attributes = {name: value for name, value in kept.items() if value is not _LARGE}
        return durable_names.exception, (type(error), tuple(_told(value, most) for value in args), attributes)


def _shortened(value: object, most: int) -> object:
    """Return a text cut to so many bytes, another value if it is no larger than that, or else `_LARGE`."""
    if isinstance(value, str):
        return cut(value, most)
    return value if _travels(value, most) else _LARGE


def _told(value: object, most: int) -> object:
    short = _shortened(value, most)
    return cut(repr(value), most) if short is _LARGE else short


def _travels(value: object, most: int | None = None) -> bool:
    try:
        data = pickling.dumps(value)
    except FOREIGN:  # the attribute stays behind, the exception need not
        return False
    return most is None or len(data) <= most


def _format(error: BaseException) -> str:
    try:
        code_lines.show_lines_of(error.__traceback__)
        return tracebacks.text_of(error)
    except FOREIGN:
        return ""
