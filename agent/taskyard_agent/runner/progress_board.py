"""A worker's progress board: memory shared with the agent.

The worker notes each run before it starts it, at no system call, so that the agent knows which run is
executing and since when, even after the worker has died; and what runs have printed that is not sent yet, so
that the last words before a crash are not lost with it. Invariant: only the worker writes.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_SIZE: Final = 1 << 20
"""Most of it is for lanes (`lane_board`), and is no memory before it is written."""
LANE_AT: Final = 4096
"""Where their part begins: on a page of its own."""
_SHELF_AT: Final = 768 * 1024
"""Where that part begins which has what was printed, up to the end."""
_RUN: Final = struct.Struct("<QQQ")
_LOGS: Final = struct.Struct("<Q")
_LOGS_AT: Final = _RUN.size
_HEARTBEAT: Final = struct.Struct("<Q")
_HEARTBEAT_AT: Final = _LOGS_AT + _LOGS.size
_ALL: Final = struct.Struct("<QQQQQ")
_USED: Final = struct.Struct("<Q")
_PIECE: Final = struct.Struct("<16sQII")


class Progress(NamedTuple):
    """What a worker is doing."""

    number: int
    """The chunk."""
    position: int
    """The run in the chunk."""
    started_ns: int
    """Since when, monotonic; 0 when nothing is executing."""
    logs: int
    """Log records, words of progress and output, not yet sent."""
    heartbeat_ns: int = 0
    """When a run last said that it goes on, monotonic; 0 when none ever has."""

    def seconds(self, now_ns: int) -> float:
        """Return for how long the run has been executing; `now_ns` is monotonic, as the worker's clock is."""
        return (now_ns - self.started_ns) / 1e9

    def silent_seconds(self, now_ns: int) -> float:
        """Return for how long the run has said nothing; its start counts as a word."""
        return (now_ns - max(self.started_ns, self.heartbeat_ns)) / 1e9


def create() -> int:
    """Return the descriptor of a new board.

    Raises:
        OSError: There is no descriptor, or no memory, for it.
    """
    descriptor = os.memfd_create("taskyard-progress", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, _SIZE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Piece(NamedTuple):
    """Some lines that a run has printed."""

    run_id: bytes
    at_us: int
    stream: int
    """An `OutputStream`."""
    data: bytes


class BoardReader:
    """The agent's view: which run a worker is at, and since when. A look costs no message."""

    def __init__(self, descriptor: int) -> None:
        """Map it for reading; the descriptor may be closed afterwards."""
        self._map = mmap.mmap(descriptor, _SIZE, prot=mmap.PROT_READ)

    @property
    def page(self) -> mmap.mmap:
        """The memory itself, for whoever reads another part of it."""
        return self._map

    def read(self) -> Progress:
        """Return what the worker is doing. May mix two runs if the worker writes at this moment."""
        return Progress(*_ALL.unpack_from(self._map))

    def shelved(self) -> Iterator[Piece]:
        """Return what was printed and not sent. To be asked when the worker has ended."""
        start = _SHELF_AT + _USED.size
        end = start + _USED.unpack_from(self._map, _SHELF_AT)[0]
        while start + _PIECE.size <= min(end, _SIZE):
            run_id, at_us, stream, size = _PIECE.unpack_from(self._map, start)
            start += _PIECE.size + size
            yield Piece(run_id, at_us, stream, self._map[start - size : start])

    def close(self) -> None:
        """Let go of the memory; nothing may be read afterwards."""
        self._map.close()


class BoardWriter:
    """The worker's view: it notes what it is at before each run."""

    def __init__(self, descriptor: int) -> None:
        """Map it for writing; the descriptor may be closed afterwards."""
        self.map = mmap.mmap(descriptor, _SIZE)
        self._shelved = 0

    def position(self) -> int | None:
        """Return the position of the run that executes; None when none does."""
        number, position, _ = _RUN.unpack_from(self.map)
        return position if number else None

    def idle(self) -> None:
        """Note that nothing is executing."""
        _RUN.pack_into(self.map, 0, 0, 0, 0)

    def shelve(self, piece: Piece) -> None:
        """Note what was printed; what there is no room for may be lost with this process."""
        start = _SHELF_AT + _USED.size + self._shelved
        end = start + _PIECE.size + len(piece.data)
        if end > _SIZE:
            return
        self.map[start:end] = _PIECE.pack(*piece[:3], len(piece.data)) + piece.data
        self._shelved = end - _SHELF_AT - _USED.size
        _USED.pack_into(self.map, _SHELF_AT, self._shelved)

    def clear_shelf(self) -> None:
        """Note that all of it was sent."""
        if self._shelved:
            self._shelved = 0
            _USED.pack_into(self.map, _SHELF_AT, 0)

    def logs(self, unsent: int) -> None:
        """Note how many log records, words of progress and pieces of output wait."""
        _LOGS.pack_into(self.map, _LOGS_AT, unsent)

    def heartbeat(self, now_ns: int) -> None:
        """Note that the run goes on."""
        _HEARTBEAT.pack_into(self.map, _HEARTBEAT_AT, now_ns)


note_run = _RUN.pack_into
"""``note_run(board.map, 0, number, position, started_ns)``: once per run, so not a method."""
