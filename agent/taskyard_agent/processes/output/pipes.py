"""The pipes of one worker: what it prints beside Python, and what the programs print that its runs start.

Whose bytes they are a mark says that the worker writes after a run which has started any (`runner.output`);
without one they are those of the run that executes. In a lane the mark stands before them. What is read
becomes whole lines; the beginning of a line is held until it is ended, or half a second has passed.
Invariant: when the pipes are found empty, everything that was written before is passed on or held as a line.
"""

import asyncio
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.runner.output.lines import Lines
from taskyard_agent.runner.output.printed import HOLD_NS, MARK_BYTES, STDERR, STDOUT
from taskyard_agent.runner.progress_board import Piece
from taskyard_contract.ids import ID_BYTES

READ_BYTES: Final = 64 * 1024
"""What a pipe holds."""
Whose = Callable[[bytes], bytes]
"""Returns the id of the run that what comes is of, given the one that a mark has announced, if any has."""
MOST_READS: Final = 16
"""At a time: who writes without a pause must not keep the agent from everything else."""


class Pipe:
    """One of the two."""

    def __init__(self, descriptor: int, stream: int, announced: bool = False) -> None:
        """Read from a descriptor what is written to a stream; `announced`: marks stand in front."""
        self._announced = announced
        self._marked = b""
        self.descriptor = descriptor
        self._stream = stream
        self._lines = Lines()
        self._owner = b""
        self._rest = b""
        self.ended = False
        """Whether nobody has the other end any more."""

    @property
    def begun(self) -> bool:
        """Whether it is in the midst of a line."""
        return self._lines.begun

    @property
    def holds(self) -> bool:
        """Whether the beginning of a line is held."""
        return self._lines.since_ns > 0

    def read(self, mark: bytes, whose: Whose) -> Iterator[Piece]:
        """Return the lines that have become whole; whose they are is asked before and after a read."""
        for _ in range(MOST_READS):
            run_id = whose(self._marked)  # what is not marked in what is read now was its
            try:
                data = os.read(self.descriptor, READ_BYTES)
            except OSError:
                return
            if not data:
                self.ended = True
                return
            yield from self._parted(self._rest + data, mark, run_id, whose)

    def _parted(self, data: bytes, mark: bytes, run_id: bytes, whose: Whose) -> Iterator[Piece]:
        """Give each part to the run whose mark follows it, and the last one to the run that executes."""
        start = 0
        while (end := data.find(mark, start)) >= 0 and len(data) >= end + MARK_BYTES + ID_BYTES:
            after = end + MARK_BYTES
            marked = data[after : after + ID_BYTES]
            if self._announced:
                yield from self._add(whose(self._marked), data[start:end])
                self._marked = marked
            else:
                yield from self._add(marked, data[start:end])
                yield from self.end()
            start = after + ID_BYTES
        last = data[start:]
        # A mark that is cut off says whose this is when the rest of it is read.
        self._rest = last if end >= 0 or _ends_like(last, mark) else b""
        if not self._rest:
            yield from self._add(whose(self._marked) if start else run_id, last)

    def _add(self, run_id: bytes, data: bytes) -> Iterator[Piece]:
        if not data:
            return
        if self._lines.begun and self._owner not in (b"", run_id):
            yield from self.end()
        self._owner = run_id
        whole = self._lines.add(data, time.monotonic_ns())
        yield from self._piece(whole)

    def _piece(self, data: bytes) -> Iterator[Piece]:
        if data:
            yield Piece(self._owner, time.time_ns() // 1000, self._stream, data)

    def overdue(self) -> Iterator[Piece]:
        """Return the beginning of a line that has been held for long enough."""
        yield from self._piece(self._lines.overdue(time.monotonic_ns() - HOLD_NS))

    def end(self) -> Iterator[Piece]:
        """End a line that was begun."""
        if self._lines.begun:
            yield from self._piece(self._lines.end())

    def end_those_of(self, run_ids: Sequence[bytes]) -> Iterator[Piece]:
        """End a line that one of some runs has begun."""
        if self._lines.begun and self._owner in run_ids:
            yield from self.end()

    def rest(self) -> Iterator[Piece]:
        """Return what is held when nothing more can come."""
        rest, self._rest = self._rest, b""
        yield from self._add(self._owner, rest)
        yield from self.end()


def _ends_like(data: bytes, mark: bytes) -> bool:
    """Say whether data ends with what may be the beginning of a mark."""
    return any(data.endswith(mark[:size]) for size in range(1, min(len(mark), len(data) + 1)))


class WorkerOutput:
    """Both pipes of a worker."""

    def __init__(self, lines: WorkerLines, whose: Whose, announced: bool = False) -> None:
        """Read from `lines`.

        Args:
            lines: Has the descriptors.
            whose: Returns the id of the run that the worker executes, or did last.
            announced: Whether marks stand in front of what they are for.
        """
        self._pipes = Pipe(lines.output, STDOUT, announced), Pipe(lines.errors, STDERR, announced)
        self._whose = whose
        self.mark = b"\0" * MARK_BYTES
        """What the worker's marks begin with; it says so when it is ready."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._later: asyncio.TimerHandle | None = None
        self._readable: Callable[[], None] = _nobody
        self._poll = select.poll()
        for pipe in self._pipes:
            if pipe.descriptor >= 0:
                self._poll.register(pipe.descriptor, select.POLLIN)

    def listen(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], None]) -> None:
        """Have `readable` called when there is something to `read`."""
        self._loop, self._readable = loop, readable
        for pipe in self._pipes:
            if pipe.descriptor >= 0:
                loop.add_reader(pipe.descriptor, self._on_readable, pipe)

    def _on_readable(self, pipe: Pipe) -> None:
        self._readable()

    def read(self) -> list[Piece]:
        """Return what has come, and the beginnings of lines that have been held for long enough."""
        if not (self._poll.poll(0) or self._held()):
            return []  # asked with each report, and nearly always so
        pieces = [piece for pipe in self._pipes for piece in pipe.read(self.mark, self._whose)]
        pieces += [piece for pipe in self._pipes for piece in pipe.overdue()]
        for pipe in self._pipes:
            if pipe.ended:
                self._leave(pipe)
        if self._later is None and self._held() and self._loop is not None:
            self._later = self._loop.call_later(HOLD_NS / 1e9, self._on_overdue)
        return pieces

    def _held(self) -> bool:
        first, second = self._pipes
        return first.holds or second.holds

    def _leave(self, pipe: Pipe) -> None:
        """Look no more at a pipe at whose end there is nobody."""
        with suppress(KeyError):  # it was left before
            self._poll.unregister(pipe.descriptor)
            if self._loop is not None:
                self._loop.remove_reader(pipe.descriptor)

    def _on_overdue(self) -> None:
        self._later = None
        self._readable()

    @property
    def begun(self) -> bool:
        """Whether one of them is in the midst of a line."""
        return any(pipe.begun for pipe in self._pipes)

    def end_those_of(self, run_ids: Sequence[bytes]) -> list[Piece]:
        """Return the lines that some runs have begun and not ended, before it is told that these ended."""
        return [piece for pipe in self._pipes for piece in pipe.end_those_of(run_ids)]

    def read_rest(self) -> list[Piece]:
        """Return what a worker has left that has ended."""
        pieces: list[Piece] = []
        for _ in range(MOST_READS):  # what a run has left behind, out of its group, may write for ever
            some = self.read()
            pieces += some
            if not some:
                break
        return [*pieces, *(piece for pipe in self._pipes for piece in pipe.rest())]

    def close(self) -> None:
        """Close the agent's ends, once or more."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        for pipe in self._pipes:
            if pipe.descriptor >= 0:
                if self._loop is not None:
                    self._loop.remove_reader(pipe.descriptor)
                os.close(pipe.descriptor)
                pipe.descriptor = -1


def _nobody() -> None:
    """Tell nobody."""
