"""One worker as the agent's main process sees it: two sockets, a progress board and the pieces it has.

Sockets are non-blocking and used directly with the event loop's readers and writers: a frame costs one
system call and no task. Invariant: `pieces` holds exactly the runs this worker has and has not reported.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from taskyard_agent.holding.chunks import Piece, Template
from taskyard_agent.runner import frames, progress_board
from taskyard_agent.runner.progress_board import Progress

if TYPE_CHECKING:
    from taskyard_agent.processes.endings import Ending

MAX_TEMPLATES: Final = 256
"""A worker that has met more is told to forget them all: code of yesterday's scripts must not pile up."""


class WorkerLines:
    """The agent's and the worker's ends of everything between them."""

    def __init__(self) -> None:
        """Open two socket pairs and a board."""
        self.data, self.far_data = socket.socketpair()
        self.control, self.far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.board = progress_board.create()

    def descriptors(self) -> list[int]:
        """Return what the worker gets."""
        return [self.far_data.fileno(), self.far_control.fileno(), self.board]


class Worker:
    """A worker process, from the request to fork it until its exit is confirmed."""

    def __init__(self, number: int, lines: WorkerLines, loop: asyncio.AbstractEventLoop) -> None:
        """Use the agent's ends of `lines`."""
        self.number = number
        self.pid = 0
        self.ready = False
        self.retiring = False
        self.blocked = False
        self.resting = False
        self.rests_since = 0.0
        self.deaf = False
        self.gone = False
        self.ending: Ending | None = None
        self.pieces: dict[int, Piece] = {}
        self.started: tuple[int, int] = (0, 0)
        self.seen: Progress | None = None
        self._board = progress_board.BoardReader(lines.board)
        self._data = lines.data
        self._control = lines.control
        self._data.setblocking(False)
        self._control.setblocking(False)
        self._loop = loop
        self._reader = frames.FrameReader()
        self._unsent = bytearray()
        self._templates: set[int] = set()

    def listen(self, on_data: Callable[["Worker"], None], on_control: Callable[["Worker"], None]) -> None:
        """Have the loop call back when there is something to read."""
        self._loop.add_reader(self._data, on_data, self)
        self._loop.add_reader(self._control, on_control, self)

    @property
    def available(self) -> bool:
        """Whether it may be given runs."""
        return self.ready and not (self.retiring or self.blocked or self.resting or self.deaf or self.ending)

    def runs(self) -> int:
        """Return the number of runs it has."""
        return sum(map(len, self.pieces.values()))

    def progress(self) -> Progress:
        """Return what it is doing."""
        return self._board.read()

    def executing(self) -> tuple[Piece, Progress] | None:
        """Return the piece and the run it is on, None when it is on none of those it has to report."""
        if not self.pieces:
            return None  # a worker that was closed has no board any more
        progress = self.progress()
        piece = self.pieces.get(progress.number)
        if piece is None or not progress.started_ns or not piece.start <= progress.position < piece.stop:
            return None
        return piece, progress

    def give(self, number: int, piece: Piece) -> None:
        """Hand a piece over."""
        source, template = piece.source, piece.source.template
        piece.number = number
        self.pieces[number] = piece
        if template.index not in self._templates:
            self._define(template)
        head = frames.CHUNK_HEAD.pack(
            number, template.index, source.first_epoch, piece.start, piece.stop, len(source.ids)
        )
        self.send(frames.pack(frames.CHUNK, head, source.ids, source.body))

    def _define(self, template: Template) -> None:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
            self.send(frames.pack(frames.FORGET))
        self._templates.add(template.index)
        self.send(frames.pack(frames.TEMPLATE, frames.TEMPLATE_HEAD.pack(template.index), template.encoded))

    def revoke(self, piece: Piece) -> None:
        """Ask for the unstarted runs of a piece back; the answer comes on the control socket."""
        if not piece.revoking:
            piece.revoking = self._tell(piece.number)

    def poke(self) -> None:
        """Ask for what has ended while a later run executes."""
        self._tell(0)

    def _tell(self, number: int) -> bool:
        try:
            self._control.send(frames.REVOKE.pack(number))
        except OSError:
            return False  # full: asked again soon; closed: its exit is about to be noticed
        return True

    def send(self, data: bytes) -> None:
        """Send a frame, now or when the socket takes it."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._data.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is gone, which the reader notices; its runs go to another one
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._data, self._send_rest)

    def _send_rest(self) -> None:
        try:
            # A part at a time: slicing all of a large buffer for each call would be quadratic.
            sent = self._data.send(self._unsent[: 256 * 1024])
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._data)

    def receive(self) -> list[tuple[int, bytes]] | None:
        """Return the frames one read completes; None at the end."""
        try:
            data = self._data.recv(frames.READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._reader.feed(data) if data else None

    def receive_rest(self) -> Iterator[tuple[int, bytes]]:
        """Return the frames that a worker which has ended has left in its socket."""
        while True:
            try:
                data = self._data.recv(frames.READ_BYTES)
            except OSError:
                return
            if not data:
                return
            yield from self._reader.feed(data)

    def receive_control(self) -> Iterator[tuple[int, int]]:
        """Return the answers to revocations that have arrived: number of the piece, first revoked run."""
        while True:
            try:
                message = self._control.recv(frames.REVOKED.size)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._loop.remove_reader(self._control)
                return
            yield frames.REVOKED.unpack(message)

    def deafen(self) -> None:
        """Stop reading: the other end is closed, and nothing given to it would arrive."""
        self.deaf = True
        self._loop.remove_reader(self._data)

    def close(self) -> None:
        """Close the sockets: a worker that is idle ends."""
        for end in (self._data, self._control):
            if end.fileno() >= 0:
                self._loop.remove_reader(end)
                self._loop.remove_writer(end)
                end.close()
        if not self.gone:
            self.gone = True
            self._board.close()
