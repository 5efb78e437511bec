"""A log record of a run, from the code that wrote it to the frame that carries it.

One shape all the way: whoever catches a record makes the entry, workers, threads and sessions pass it on as
it is, and only the frame takes it apart into columns. A plain tuple, because a program may log much more
often than it runs tasks, and a named one takes several times as long to make.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from taskyard_contract.wire_text import cut, printable

if TYPE_CHECKING:
    # Programs that only submit import this module and not yet the messages.
    from taskyard_api.v1 import session_service_pb2

MAX_LOG_MESSAGE: Final = 33 * 1024
"""Bytes of one message; what is longer is cut, or a few of them would fill a frame.

A little more than the characters that the SDK's handler lets through: its remark that it cut has to stay.
"""
MAX_LEVEL: Final = 2**31 - 1
"""What any language and any database takes; `logging` itself goes up to 50."""

LogEntry = tuple[bytes, int, int, str, str, str]
"""Run id, microseconds since the epoch, level, logger, message, name of the run."""
LogSink = Callable[[LogEntry], None]
"""Takes a log record of a run to the control plane."""


def add_to(batch: "session_service_pb2.LogBatch", entry: LogEntry) -> None:
    """Append an entry to the columns of a batch."""
    run_id, at_us, level, logger, message, run_name = entry
    batch.run_ids.append(run_id)
    batch.at_us.append(at_us)
    batch.levels.append(min(max(0, level), MAX_LEVEL))  # `logging` takes any whole number
    batch.loggers.append(printable(logger))
    batch.messages.append(cut(message, MAX_LOG_MESSAGE))
    batch.run_names.append(printable(run_name))
