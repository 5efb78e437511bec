"""What runs write to standard output and error, on its way from user code to the agent.

What Python writes goes along with the reports, in order and ahead of the end of its run: no system call, and
nothing at all for runs that write nothing. What other programs write, which a run has started, comes through
pipes that the agent reads. While a run has started any, everything it writes goes through these, so that one
order holds for all of it; when it ends, a mark in the pipes says whose that was. Where several runs go on
together, such a mark says it beforehand: what follows is of the run that has last started, or printed,
something.

Invariant: what a run has written is under way before its end is. In a copy of this process, which a run has
forked, everything goes into the pipes: reports are the worker's.
"""

import io
import os
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, cast

from taskyard_agent.runner.output.lines import MAX_LINE, Lines
from taskyard_agent.runner.progress_board import BoardWriter, Piece
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.states import OutputStream

STDOUT: Final = int(OutputStream.STDOUT)
STDERR: Final = int(OutputStream.STDERR)
LOGGER: Final = int(OutputStream.LOGGER)
DESCRIPTORS: Final[dict[int, int]] = {STDOUT: 1, STDERR: 2}
MAX_UNSENT: Final = 64 * 1024
"""Bytes that wait for results to travel with; whoever writes more waits until they are sent."""
HOLD_NS: Final = 500_000_000
"""So long the beginning of a line waits for its end."""
MARK_BYTES: Final = 16
"""Of the secret that marks begin with, so that no program writes one by chance."""
_IN_PIPE: Final = b""
"""Instead of a run: the mark in the pipe says whose a line is."""

current_run: ContextVar[bytes] = ContextVar("taskyard_worker_run", default=b"")
"""The id of the run in whose context code is executed; empty where the worker has one run at a time."""


class Output:
    """What the runs of this worker write."""

    def __init__(self, board: BoardWriter, whose: Callable[[], bytes], flush: Callable[[], None]) -> None:
        """Begin with nothing.

        Args:
            board: Where the agent finds what was not sent when this process dies.
            whose: Returns the id of the run that executes.
            flush: Sends what there is.
        """
        self._board = board
        self.loose = False
        """Whether something is to be settled when the run ends: looked at after each run."""
        self.mark = b"\xff\0" + secrets.token_bytes(MARK_BYTES - 2)  # in no text
        self.own_log = 2
        """Descriptor of what is written while no run executes."""
        self.on_unsent: Callable[[], None] = _nobody
        """Called when there is something to send, and was not before."""
        self.is_shared = False
        """Whether several runs go on together: then marks in the pipes say beforehand whose they are."""
        self.whose = whose
        self.flush_all = flush
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._lines: dict[tuple[int, bytes], Lines] = {}
        """By stream and run, those lines that were begun; without a run those that go on in the pipe."""
        self._lock = threading.RLock()
        self._direct = self._is_copy = self._aside = False
        self._starter = b""
        self._starters: set[bytes] = set()
        """Of runs that go on together those that have started programs: their lines go through the pipes."""
        self._marked: dict[int, bytes] = {}
        """By stream, of which of them what is in the pipe now is."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep what is written meanwhile apart: to load code is no run's doing, and is done once at home."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    @property
    def unsent(self) -> int:
        """How much waits to be sent, in pieces and begun lines."""
        return len(self._pieces) + sum(lines.since_ns > 0 for lines in list(self._lines.values()))

    def run(self) -> bytes:
        """Return the id of the run that the calling code belongs to."""
        return current_run.get() or self.whose()

    def write(self, stream: int, data: bytes) -> None:
        """Take what user code writes."""
        if self._aside:
            _write_all(self.own_log, data)
            return
        if self._direct:
            self._write_through(stream, data)
            return
        with self._lock:
            run_id, waited = self.run(), bool(self._pieces)
            self._say(run_id, stream, self._whole(stream, run_id, data))
        if not waited:
            self.on_unsent()
        if self._bytes > MAX_UNSENT:
            self.flush_all()

    def _whole(self, stream: int, run_id: bytes, data: bytes) -> bytes:
        """Add to the line of a run; returns the lines that are whole now."""
        key = stream, run_id
        lines = self._lines.pop(key, None)
        if lines is None:
            if data.endswith(b"\n") and len(data) <= MAX_LINE:
                return data  # nearly always
            lines = Lines()
        whole = lines.add(data, time.monotonic_ns())
        if lines.begun:
            self._lines[key] = lines
            self.loose = True
        return whole

    def _write_through(self, stream: int, data: bytes) -> None:
        """Write into the pipe, where others write, too: whole lines, as any program does."""
        with self._lock:
            _write_all(DESCRIPTORS[stream], self._whole(stream, _IN_PIPE, data))

    def _say(self, run_id: bytes, stream: int, data: bytes) -> None:
        """Have something of a run go where it goes by now."""
        if run_id not in self._starters:
            self._put(run_id, stream, data)
        elif data:
            self._to_pipe(run_id, stream, data)

    def _to_pipe(self, run_id: bytes, stream: int, data: bytes = b"") -> None:
        """Write into the pipe, of several runs behind a mark that says whose it is, and what follows."""
        head = b"" if run_id in (_IN_PIPE, self._marked.get(stream)) else self.mark + run_id
        self._marked[stream] = run_id
        _write_all(DESCRIPTORS[stream], head + data)

    def flush(self, stream: int) -> None:
        """Let the beginning of a line into the pipe, if it is for that; else it waits for its end a while."""
        if self._direct or self._starters:
            with self._lock:
                run_id = _IN_PIPE if self._direct else self.run()
                lines = self._lines.get((stream, run_id))
                if lines is not None and (self._direct or run_id in self._starters):
                    self._to_pipe(run_id, stream, lines.overdue(time.monotonic_ns()))

    def record(self, data: bytes) -> None:
        """Take a record of `logging` that nobody has shown here."""
        if self._aside:
            return
        with self._lock:
            self._put(self.run(), LOGGER, data)
        self.on_unsent()
        if self._bytes > MAX_UNSENT:
            self.flush_all()

    def _put(self, run_id: bytes, stream: int, data: bytes) -> None:
        if data:
            piece = Piece(run_id, time.time_ns() // 1000, stream, data)
            self._board.shelve(piece)
            self._pieces.append(piece)
            self._bytes += len(data)

    def take(self) -> pb.OutputBatch | None:
        """Return what is to be sent now; a line that was begun a while ago comes in parts."""
        if not self._pieces and not self.loose:
            return None
        with self._lock:
            before = time.monotonic_ns() - HOLD_NS
            for (stream, run_id), lines in self._lines.items():
                part = lines.overdue(before)
                if run_id == _IN_PIPE:
                    _write_all(DESCRIPTORS[stream], part)
                else:
                    self._say(run_id, stream, part)
            pieces, self._pieces, self._bytes = self._pieces, deque(), 0
        return batch_of(pieces) if pieces else None

    def sent(self) -> None:
        """Note that what was taken is with the agent."""
        with self._lock:
            self._board.clear_shelf()
            for piece in self._pieces:  # of another thread, meanwhile
                self._board.shelve(piece)

    def child_begins(self) -> None:
        """Note that another process is about to be started, which may write."""
        if self._direct:
            return
        self.flush_all()  # what was written before is on its way before anything the other process writes
        if self.is_shared:
            self._start_beside()
            return
        with self._lock:
            self._starter = self.whose()
            self._direct = self.loose = True
            for stream in DESCRIPTORS:
                begun = self._lines.pop((stream, self._starter), None)
                if begun is not None:
                    self._lines[stream, _IN_PIPE] = begun
                    self.flush(stream)

    def _start_beside(self) -> None:
        """Note that one of several runs starts a process, and say in the pipes that what follows is its."""
        with self._lock:
            run_id = self.run()
            self._starters.add(run_id)
            self.loose = True
            for stream in DESCRIPTORS:
                lines = self._lines.get((stream, run_id))
                self._to_pipe(
                    run_id, stream, lines.overdue(time.monotonic_ns()) if lines is not None else b""
                )

    def settle(self) -> None:
        """End the lines of the run that ends, and say whose was what is in the pipes."""
        if self._is_copy:
            return
        with self._lock:
            for stream in DESCRIPTORS if self._direct else ():
                lines = self._lines.pop((stream, _IN_PIPE), None)
                rest = lines.end() if lines is not None else b""
                _write_all(DESCRIPTORS[stream], rest + self.mark + self._starter)
            for (stream, run_id), lines in self._lines.items():
                self._put(run_id, stream, lines.end())
            self._lines.clear()
            self._direct = self.loose = False

    def ended(self, run_id: bytes) -> None:
        """End the lines of one of several runs that go on together."""
        with self._lock:
            for stream in DESCRIPTORS:
                lines = self._lines.pop((stream, run_id), None)
                if lines is not None:
                    self._say(run_id, stream, lines.end())
            self._starters.discard(run_id)
            self.loose = bool(self._lines or self._starters)

    def become_copy(self) -> None:
        """Be in a fork of the worker: what waits is the worker's to send, and locks may be held for ever."""
        self._lock = threading.RLock()
        self._pieces, self._bytes = deque(), 0
        self._lines, self._starters = {}, set()
        self._direct = self._is_copy = True


def batch_of(pieces: Iterable[Piece]) -> pb.OutputBatch:
    """Put pieces into columns, those together that follow each other in one stream of one run."""
    batch = pb.OutputBatch()
    last: tuple[bytes, int] | None = None
    parts: list[bytes] = []
    for run_id, at_us, stream, data in pieces:
        if last == (run_id, stream) and stream != LOGGER:
            parts.append(data)
            continue
        if parts:
            batch.data.append(b"".join(parts))
        last, parts = (run_id, stream), [data]
        batch.run_ids.append(run_id)
        batch.at_us.append(at_us)
        batch.streams.append(pb.OutputStream.ValueType(stream))
    if parts:
        batch.data.append(b"".join(parts))
    return batch


class OutputFile(io.RawIOBase):
    """What is below `sys.stdout`, or below `sys.stderr`."""

    def __init__(self, output: Output, stream: int) -> None:
        """Write to a stream of `output`."""
        self._output = output
        self._stream = stream

    def write(self, data: Any) -> int:
        """Take some bytes: all of them, always."""
        taken = bytes(data)
        self._output.write(self._stream, taken)
        return len(taken)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def flush(self) -> None:
        """Hold nothing back where that is for others to do."""
        super().flush()
        self._output.flush(self._stream)

    def fileno(self) -> int:
        """Return what other programs inherit."""
        return DESCRIPTORS[self._stream]


def install(output: Output) -> None:
    """Let this process write to `output`."""
    for name, stream in (("stdout", STDOUT), ("stderr", STDERR)):
        text = io.TextIOWrapper(
            cast("io.BufferedWriter", OutputFile(output, stream)),  # nothing is to be held back in between
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)


def _write_all(descriptor: int, data: bytes) -> None:
    # Nobody reads it any more when the agent is gone, and a run may have closed what is not its own.
    with suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


def _nobody() -> None:
    """Tell nobody."""
