"""Shows what runs in other processes print, as if it had been printed here.

Lines come whole, and are written whole, each to the stream it was written to. Only a line that has been begun
and goes on for a while (a progress bar) comes in parts; when something else comes in between, it is ended.
Records of libraries' loggers go to the handlers that this program has configured.
"""

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec

from taskyard import settings
from taskyard.logging.loggers import end_lines_by, in_shown_place, show
from taskyard.logging.streams import Streams, prefixed
from taskyard_contract.states import OutputStream

if TYPE_CHECKING:
    from taskyard_api.v1.session_service_pb2 import LogBatch, OutputBatch

P = ParamSpec("P")
STDOUT: Final = int(OutputStream.STDOUT)
STDERR: Final = int(OutputStream.STDERR)
LOGGER: Final = int(OutputStream.LOGGER)

logger = logging.getLogger("taskyard.output")


class _Said(NamedTuple):
    """A log record, or a piece of output."""

    at_us: int
    run_id: bytes
    run_name: str
    stream: int
    """Where it was written to; 0 for a record of a run's log."""
    data: Any


class Shown:
    """What is on the terminal: above all, whether its last line is whole."""

    def __init__(self) -> None:
        """Begin on an empty line."""
        self._lock = threading.RLock()
        self._streams = Streams()
        self._begun: dict[int, bytes] = {}
        """By stream the run whose line is not whole."""

    def show(self, logs: "LogBatch | None", output: "OutputBatch | None") -> None:
        """Show what came together, in the order in which it was said."""
        with self._lock:
            said = sorted([*_records(logs), *_pieces(output)], key=lambda one: one.at_us)
            for (stream, run_id), group in groupby(said, key=lambda one: (one.stream, _whose(one))):
                if stream in (STDOUT, STDERR):
                    _guarded(self._write, stream, run_id, list(group))
                    continue
                _guarded(self.end_line)
                for one in group:
                    _guarded(_show_record, one)

    def _write(self, stream: int, run_id: bytes, said: list[_Said]) -> None:
        mode = settings.output()
        if mode == "off":
            return
        self._leave_others(stream, run_id)
        text = b"".join(one.data for one in said).decode(errors="replace")
        if not text:
            return
        goes_on = stream in self._begun
        if mode == "prefixed":
            text = prefixed(text, said[0].run_name, goes_on)
        self._streams.write(stream, text)
        if text.endswith("\n"):
            self._begun.pop(stream, None)
        else:
            self._begun[stream] = run_id

    def _leave_others(self, stream: int, run_id: bytes) -> None:
        """End the lines of others where something is about to be written: in files each stream is its own."""
        begun = dict(self._begun)
        for each, whose in begun.items():
            if (each, whose) != (stream, run_id) and (each == stream or self._streams.meet()):
                self._end(each)

    def end_line(self) -> None:
        """Leave the lines that somebody has begun, so that nothing is written into them."""
        if not self._begun:
            return
        with self._lock:
            for stream in tuple(self._begun):
                self._end(stream)

    def _end(self, stream: int) -> None:
        del self._begun[stream]
        self._streams.write(stream, "\n")


def _guarded(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        call(*args, **kwargs)
    except Exception:
        # A handler or a stream of the program raised. This is the thread that brings results, so nobody else
        # must be kept from what they wait for; and to log it would only ask the same handler once more.
        traceback.print_exc()


def _show_record(one: _Said) -> None:
    if one.stream == LOGGER:
        _handle(one.data)
    elif one.stream == 0:
        show(one.run_name, one.at_us, *one.data)


def _whose(one: _Said) -> bytes:
    return one.run_id if one.stream in (STDOUT, STDERR) else b""


def _records(batch: "LogBatch | None") -> Iterator[_Said]:
    if batch is None:
        return
    columns = batch.run_ids, batch.run_names, batch.at_us, batch.levels, batch.messages, batch.loggers
    for run_id, name, at_us, level, message, source in zip(*columns, strict=True):
        yield _Said(at_us, run_id, name, 0, (level, message, source))


def _pieces(batch: "OutputBatch | None") -> Iterator[_Said]:
    if batch is None:
        return
    columns = batch.run_ids, batch.run_names, batch.at_us, batch.streams, batch.data
    latest: dict[bytes, int] = {}
    for run_id, name, at_us, stream, data in zip(*columns, strict=True):
        # Of one run they come in order. When another program has written something is known only by when
        # it was read, which is a little later than the run itself may have gone on.
        latest[run_id] = at_us = max(at_us, latest.get(run_id, 0))
        yield _Said(at_us, run_id, name, stream, data)


def _handle(data: bytes) -> None:
    """Give a record of a library's logger to the handlers that this program has for it."""
    attributes = json.loads(data)
    handled = attributes.pop("handled", ())
    record = logging.makeLogRecord(attributes)
    record.msecs = int((record.created - int(record.created)) * 1000) + 0.0
    target = logging.getLogger(record.name)
    if not target.isEnabledFor(record.levelno):
        return
    if not handled:
        target.handle(record)
    elif not target.disabled and target.filter(record):
        _handle_further(target, record, handled)


def _handle_further(target: logging.Logger | None, record: logging.LogRecord, handled: Sequence[str]) -> None:
    """Give a record to the handlers that were not there where it was made."""
    while target is not None:
        for handler in target.handlers if target.name not in handled else ():
            if record.levelno >= handler.level:
                handler.handle(record)
        target = target.parent if target.propagate else None


_shown: Final = Shown()
end_lines_by(_shown.end_line)


def show_said(logs: "LogBatch | None", output: "OutputBatch | None") -> None:
    """Show log records and output of runs in other processes.

    Args:
        logs: Records of runs.
        output: What runs have printed.
    """
    in_shown_place(_shown.show, logs, output)


def say_dropped_output(lines: int) -> None:
    """Say that output was not shown: it is recorded nowhere."""
    in_shown_place(_shown.end_line)
    logger.warning("%d lines of output are not shown: this program read them too slowly", lines)
