"""What lies between an agent and a worker: sockets and a progress board, of memory."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from simulation.loop import Node, SimulatedLoop
from taskyard_agent.runner.progress_board import Piece, Progress

HOP_SECONDS: Final = 0.00005


class Wire:
    """One direction: what is put in comes out in order, a moment later.

    Timers of one moment have no order.
    """

    def __init__(self, loop: SimulatedLoop, deliver: Callable[[bytes], None]) -> None:
        self._loop, self._deliver = loop, deliver
        self._waiting: deque[bytes] = deque()

    def put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._loop.later(HOP_SECONDS, self._out)

    def _out(self) -> None:
        self._deliver(self._waiting.popleft())


class Socket:
    """The agent's end of a socket to a worker."""

    def __init__(self, loop: SimulatedLoop, node: Node, far: Callable[[bytes], None]) -> None:
        self._node = node
        self._there, self._back = Wire(loop, far), Wire(loop, self._came)
        self._received: deque[bytes] = deque()
        self._reader: Callable[[], None] | None = None
        self._told = False
        self._open = True
        self._ended = False

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return 0 if self._open else -1

    def set_reader(self, reader: Callable[[], None] | None) -> None:
        self._reader = reader
        self._tell()

    def send(self, data: bytes) -> int:
        if not self._open or self._ended:
            raise BrokenPipeError
        self._there.put(bytes(data))
        return len(data)

    def recv(self, size: int) -> bytes:
        if self._received:
            return self._received.popleft()
        if self._ended:
            return b""
        raise BlockingIOError

    def close(self) -> None:
        self._open = False
        self._there.put(b"")

    def answer(self, data: bytes) -> None:
        """Send what the worker says; nothing means that it closes its end."""
        self._back.put(data)

    def _came(self, data: bytes) -> None:
        if data:
            self._received.append(data)
        else:
            self._ended = True
        self._tell()

    def _tell(self) -> None:
        if self._reader is not None and (self._received or self._ended) and not self._told:
            self._told = True
            self._node.run(self._read)

    def _read(self) -> None:
        self._told = False
        if self._reader is not None and (self._received or self._ended):
            self._reader()
            self._tell()


class Board:
    """The progress board of a worker, both sides of it."""

    def __init__(self) -> None:
        self.progress = Progress(0, 0, 0, 0)

    def read(self) -> Progress:
        return self.progress

    def shelved(self) -> Iterator[Piece]:
        """Nothing is printed here."""
        return iter(())

    def close(self) -> None:
        """The worker may still write on it."""


class Lines:
    """What lies between an agent and a worker."""

    def __init__(self, loop: SimulatedLoop, node: Node) -> None:
        self.worker: Any
        self.data = Socket(loop, node, lambda data: self.worker.hear(data))
        self.control = Socket(loop, node, lambda data: self.worker.hear_control(data))
        self.board = Board()
        self.output = self.errors = -1  # what workers say they say in frames
