"""What lies between an agent and a worker: sockets and a progress board, of memory."""

from collections import deque
from collections.abc import Callable
from typing import Any

from simulation.loop import Node, SimulatedLoop
from taskyard_agent.runner.progress_board import Progress

HOP_SECONDS = 0.00005


class Socket:
    """The agent's end of a socket to a worker."""

    def __init__(self, loop: SimulatedLoop, node: Node, far: Callable[[bytes], None]) -> None:
        self._loop, self._node = loop, node
        self._far = far
        self._received: deque[bytes] = deque()
        self._reader: Callable[[], None] | None = None
        self._told = False
        self._open = True
        self._ended = False
        self._last = 0.0

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
        self._loop.later(HOP_SECONDS, self._far, bytes(data))
        return len(data)

    def recv(self, size: int) -> bytes:
        if self._received:
            return self._received.popleft()
        if self._ended:
            return b""
        raise BlockingIOError

    def close(self) -> None:
        self._open = False
        self._loop.later(HOP_SECONDS, self._far, b"")

    def came(self, data: bytes) -> None:
        """Take what the worker has sent; nothing means that it has closed its end."""
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

    def close(self) -> None:
        """The worker may still write on it."""


class Lines:
    """What lies between an agent and a worker."""

    def __init__(self, loop: SimulatedLoop, node: Node) -> None:
        self.worker: Any
        self.data = Socket(loop, node, lambda data: self.worker.hear(data))
        self.control = Socket(loop, node, lambda data: self.worker.hear_control(data))
        self.board = Board()
