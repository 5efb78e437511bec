"""How much of a failure travels, and the same for what others wrote. Pure: nothing here reads an exception.

Whoever writes a failure keeps to these limits; whoever takes one in from others cuts it to them, because it
is a row's cell and goes to everybody who waits for the run. A chain of causes is a message inside a message
for each of them, and readers of messages go only so deep: beyond it they could not read the frame at all.
"""

from typing import Final

from taskyard_api.v1 import failure_pb2
from taskyard_contract.wire_text import MESSAGE_LIMIT, NAME_LIMIT, cut, cut_front

TRACEBACK_LIMIT: Final = 32 * 1024
"""The end of a traceback names the culprit; its beginning is cut away."""
ENCODED_LIMIT: Final = 48 * 1024
"""Larger objects are left out. A failure is a row's cell and goes to everybody who waits for the run, and a
flow's report has no way to send a blob: so it has to fit below every limit of what travels inline."""
CHAIN_LENGTH: Final = 4
"""Causes that come along. Exceptions can be each other's context, in a circle."""


def bounded_failure(failure: failure_pb2.Failure) -> failure_pb2.Failure:
    """Return a failure cut to the limits: itself when it keeps to them, as nearly all do."""
    if _keeps_to_limits(failure):
        return failure
    bounded = failure_pb2.Failure()
    source, target = failure, bounded
    for left in range(CHAIN_LENGTH, -1, -1):
        target.type = cut(source.type, NAME_LIMIT)
        target.message = cut(source.message)
        target.traceback = cut_front(source.traceback, TRACEBACK_LIMIT)
        target.source = cut(source.source, NAME_LIMIT)
        if source.HasField("encoded") and source.encoded.ByteSize() <= _ENCODED_MESSAGE:
            target.encoded.CopyFrom(source.encoded)
        if not left or not source.HasField("cause"):
            break
        source, target = source.cause, target.cause
    return bounded


_ELLIPSIS: Final = 3  # bytes that cutting adds
_ENCODED_MESSAGE: Final = ENCODED_LIMIT + NAME_LIMIT  # with the names of encoding, type and key


def _keeps_to_limits(failure: failure_pb2.Failure) -> bool:
    for _ in range(CHAIN_LENGTH + 1):
        fits = (
            _within(failure.type, NAME_LIMIT)
            and _within(failure.message, MESSAGE_LIMIT)
            and _within(failure.traceback, TRACEBACK_LIMIT)
            and _within(failure.source, NAME_LIMIT)
            and failure.encoded.ByteSize() <= _ENCODED_MESSAGE
        )
        if not fits:
            return False
        if not failure.HasField("cause"):
            return True
        failure = failure.cause
    return False


def _within(text: str, limit: int) -> bool:
    return len(text) * 4 <= limit or len(text.encode()) <= limit + _ELLIPSIS
