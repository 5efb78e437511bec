"""One worker as the agent's main process sees it: its phase, the runs it has, and its lines.

Sockets are non-blocking and used directly with the event loop's readers and writers: a frame costs one
system call and no task. Invariant: `spans` holds exactly the runs this worker has and has not reported; it is
busy or ending exactly while it has any (an ending one may have none).
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from taskyard_agent.holding.chunks import Span
from taskyard_agent.holding.templates import MAX_TEMPLATES, LocalTemplate
from taskyard_agent.holding.worlds import GivenWorld, Interpreter
from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.processes.output.allowance import OutputAllowance
from taskyard_agent.processes.output.pipes import WorkerOutput
from taskyard_agent.processes.terminating import Ending
from taskyard_agent.processes.worker_phase import WorkerEvent, WorkerPhase, after
from taskyard_agent.runner import frames
from taskyard_agent.runner.progress_board import Piece, Progress
from taskyard_api.v1 import agent_service_pb2 as pb

SEND_BYTES: Final = 256 * 1024
"""A part at a time: slicing all of a large buffer for each call would be quadratic."""
NOWHERE: Final = b""
"""The place of workers whose runs name no world."""
_TAKES_RUNS: Final = frozenset({WorkerPhase.IDLE, WorkerPhase.BUSY})
# Once a chunk: a member looked up in its class costs more than the table that it is a key of.
_GIVEN: Final = WorkerEvent.GIVEN
_EMPTIED: Final = WorkerEvent.EMPTIED


def place_of(world: GivenWorld | None) -> bytes:
    """Return where a worker has to be that executes runs of a world."""
    return NOWHERE if world is None else world.id


class WorkerHandle:
    """A worker process, from the request to fork it until its exit is confirmed."""

    is_lane = False
    """Whether it executes runs of coroutine functions, many together, and counts for no slot."""

    def __init__(
        self,
        number: int,
        lines: WorkerLines,
        loop: asyncio.AbstractEventLoop,
        interpreter: Interpreter | None = None,
        spare: bool = False,
    ) -> None:
        """Use the agent's ends of `lines`.

        Args:
            number: Its number.
            lines: What it is spoken to over.
            loop: The event loop.
            interpreter: What its zygote was started by; None for that of the agent.
            spare: Whether it was made for the next program, and not to be at work now.
        """
        self.number = number
        self.interpreter = interpreter
        self.spare = spare
        self.place: bytes | None = None
        """The world it is in, `NOWHERE` for runs that name none; None as long as it has executed nothing."""
        self.world: GivenWorld | None = None
        self.bundles: set[bytes] = set()
        """The bundles that it may still import from."""
        self.pid = 0
        self.phase = WorkerPhase.STARTING
        self.blocked = False
        """Whether its run waits for other runs."""
        self.waits_since = 0
        """Which of all runs of the agent it was that began to wait; the latest has the highest number."""
        self.waiting_run: tuple[int, int] | None = None
        """That run: number of its span, and position."""
        self.deaf = False
        """Whether its end of the data socket is closed: nothing given to it would arrive."""
        self.rests_since = 0.0
        self.ending: Ending | None = None
        self.spans: dict[int, Span] = {}
        self.undelivered: set[int] = set()
        """Spans that it never got, because its process was gone when they were given to it."""
        self.revoking: set[int] = set()
        """Spans that were asked back and not answered for yet."""
        self.output = WorkerOutput(lines, self._whose, announced=self.is_lane)
        self.allowance = OutputAllowance()
        self._latest = b""
        self._board = lines.board
        self._data = lines.data
        self._control = lines.control
        self._data.setblocking(False)
        self._control.setblocking(False)
        self._loop = loop
        self._reader = frames.FrameReader()
        self._unsent = bytearray()
        self._templates: set[int] = set()

    def listen(
        self,
        on_data: Callable[["WorkerHandle"], None],
        on_control: Callable[["WorkerHandle"], None],
        on_output: Callable[["WorkerHandle"], None],
    ) -> None:
        """Have the loop call back when there is something to read."""
        self._loop.add_reader(self._data, on_data, self)
        self._loop.add_reader(self._control, on_control, self)
        self.output.listen(self._loop, partial(on_output, self))

    def apply(self, event: WorkerEvent) -> None:
        """Enter the phase that an event leads to.

        Raises:
            ImpossibleEvent: It does not fit the present one.
        """
        self.phase = after(self.phase, event)

    def begin(self) -> None:
        """Say what it is to be, now that it takes frames: a worker is what it is."""

    @property
    def available(self) -> bool:
        """Whether it may be given runs."""
        return self.phase in _TAKES_RUNS and not (self.blocked or self.deaf)

    @property
    def unsent(self) -> int:
        """Bytes that its socket has not taken yet."""
        return len(self._unsent)

    def rest(self) -> None:
        """Keep it, without work, for when it is needed again."""
        self.apply(WorkerEvent.REST)
        self.rests_since = self._loop.time()

    def end(self, ending: Ending) -> None:
        """Send its process group the first signal; that it has ended is known by its exit only."""
        self.apply(WorkerEvent.END)
        self.ending = ending
        ending.begin(self._loop, self.pid)

    def runs(self) -> int:
        """Return the number of runs it has."""
        return sum(map(len, self.spans.values()))

    def executing(self) -> tuple[int, Span, Progress] | None:
        """Return the span (by number) and the run it is on; None when on none of those it has to report."""
        if not self.spans:
            return None  # a worker that was closed has no board any more
        progress = self._board.read()
        span = self.spans.get(progress.number)
        if span is None or not progress.started_ns or not span.start <= progress.position < span.stop:
            return None
        return progress.number, span, progress

    def _whose(self, marked: bytes) -> bytes:
        """Return the id of the run it is on, or was on when last asked: what its pipes have is its."""
        executing = self.executing()
        if executing is not None:
            self._latest = executing[1].key(executing[2].position).run_id
        elif self.spans:
            span = next(iter(self.spans.values()))
            self._latest = span.key(span.start).run_id
        return self._latest

    def shelved(self) -> Iterator[Piece]:
        """Return what its runs have printed and it could not send any more. To be asked when it has ended."""
        return self._board.shelved()

    def find(self, key: pb.RunKey) -> tuple[int, Span, int] | None:
        """Return the span (by number) and the position of a run that it has."""
        for number, span in self.spans.items():
            position = span.find(key)
            if position is not None:
                return number, span, position
        return None

    def dropped(self) -> Iterator[pb.RunKey]:
        """Name the runs it has whose end nobody is to hear of."""
        for span in self.spans.values():
            for position, confirm in span.unwanted.items():
                if not confirm and span.start <= position < span.stop:
                    yield span.key(position)

    def give(self, number: int, span: Span) -> None:
        """Send a span under a number of its own, with its template if the worker has it not yet."""
        self.phase = after(self.phase, _GIVEN)  # once a chunk, so without another call
        chunk, template = span.chunk, span.chunk.template
        if template.world is not self.world or self.place is None:
            self._enter(template.world)
        self.spans[number] = span
        if template.index not in self._templates:
            self._define(template)
        head = frames.CHUNK_HEAD.pack(
            number, template.index, chunk.first_epoch, span.start, span.stop, len(chunk.ids)
        )
        if chunk.body_blob is not None:
            sent = self.send(
                frames.pack(frames.CHUNK_IN_FILE, head, chunk.ids, frames.entry(chunk.body_blob))
            )
        else:
            sent = self.send(frames.pack(frames.CHUNK, head, chunk.ids, chunk.body))
        if not sent:
            self.undelivered.add(number)

    def _enter(self, world: GivenWorld | None) -> None:
        self.place = place_of(world)
        self.world = world
        if world is not None and world.trouble:
            self.send(frames.pack(frames.NO_WORLD, world.trouble.encode()))
        elif world is not None:
            if world.bundle:
                self.bundles.add(world.bundle)
            size = frames.WORLD_HEAD.pack(len(world.message))
            self.send(frames.pack(frames.WORLD, size, world.message, os.fsencode(world.file)))

    def _define(self, template: LocalTemplate) -> None:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
            self.send(frames.pack(frames.FORGET))
        self._templates.add(template.index)
        self.send(frames.pack(frames.TEMPLATE, frames.TEMPLATE_HEAD.pack(template.index), template.encoded))

    def reported(self, number: int, start: int, stop: int) -> Span | None:
        """Take off runs that it has reported; None when it does not have them."""
        span = self.spans.get(number)
        if span is None:
            return None
        span.start = stop
        if stop >= span.stop:
            self._forget(number)
        return Span(span.chunk, start, stop)

    def took_back(self, number: int, first: int) -> Span | None:
        """Take off the runs from `first` on, which it will not start; None when there are none."""
        self.revoking.discard(number)
        span = self.spans.get(number)
        tail = span.split_tail(first) if span is not None else None
        if span is not None and not len(span):
            self._forget(number)
        return tail

    def surrender(self) -> list[Span]:
        """Take off everything, in the order in which it was given."""
        spans = list(self.spans.values())
        self.spans.clear()
        return spans

    def _forget(self, number: int) -> None:
        del self.spans[number]
        if not self.spans:
            self.phase = after(self.phase, _EMPTIED)

    def revoke(self, number: int) -> None:
        """Ask for the unstarted runs of a span back; the answer comes on the control socket."""
        if number not in self.revoking and self._tell(number):
            self.revoking.add(number)

    def revoke_all(self) -> None:
        """Ask for everything back that has not started, the last first: it is the least likely to have."""
        for number in reversed(self.spans):
            self.revoke(number)

    def poke(self) -> bool:
        """Ask for what has ended while a later run executes; returns whether that could be asked."""
        return self._tell(0)

    def _tell(self, number: int) -> bool:
        return self._ask(frames.REVOKE.pack(number))

    def _ask(self, message: bytes) -> bool:
        try:
            self._control.send(message)
        except OSError:
            return False  # full: asked again soon; closed: its exit is about to be noticed
        return True

    def send(self, data: bytes) -> bool:
        """Send a frame, now or when the socket takes it; returns False when its other end is closed."""
        if self._unsent:
            self._unsent += data
            return True
        try:
            sent = self._data.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.deaf = True  # it is gone, which the reader notices; its runs go to another one
            return False
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._data, self._send_rest)
        return True

    def _send_rest(self) -> None:
        try:
            sent = self._data.send(self._unsent[:SEND_BYTES])
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
        """Return the answers to revocations that have arrived: number of the span, first revoked run."""
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
        """Stop reading: the other end is closed."""
        self.deaf = True
        self._loop.remove_reader(self._data)

    def close(self) -> None:
        """Close the agent's ends, once or more: a worker that is idle ends by it."""
        for end in (self._data, self._control):
            if end.fileno() >= 0:
                self._loop.remove_reader(end)
                self._loop.remove_writer(end)
                end.close()
        self.output.close()
        self._board.close()
