"""A lane as the agent's main process sees it: a worker whose runs are live together and end in any order.

Each span it was given has a set of runs that have not ended, one bit each; the board says which of these are
live. Invariant: a run of a lane is open exactly while the account of runs in hand has it, and a run that is
open and not on the board has not started.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from taskyard_agent.holding.chunks import Span
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import LEFT
from taskyard_agent.runner import frames
from taskyard_agent.runner.lane_board import LaneBoardReader, LiveRun
from taskyard_agent.runner.progress_board import Progress
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.ids import ID_BYTES


class LaneHandle(WorkerHandle):
    """A lane, from the request to fork it until its exit is confirmed."""

    is_lane = True

    def __init__(self, *given: Any) -> None:
        """Be one; see `WorkerHandle`."""
        super().__init__(*given)
        self.open: dict[int, int] = {}
        """By number of the span: the runs that have not ended, one bit each."""
        self.count = 0
        """How many these are."""
        self.awaiting = 0
        """How many of them wait for other runs without keeping the loop."""
        self.late = False
        """Whether its loop was seen not to go round."""
        self.kept = False
        """Whether code keeps its loop while it waits for other runs."""
        self.busy_since_ns = 0
        self.stopping: dict[tuple[int, int], tuple[float, bool]] = {}
        """Runs that were told to end: by when they have to, and whether that is confirmed."""
        self.untold: set[tuple[int, int]] = set()
        """Those of them that it could not be told of yet: its socket was full."""
        self.started: set[tuple[int, int]] = set()
        """Runs that were reported as started."""
        self.named = False
        """Whether it was asked what keeps its loop."""
        self.gone: Callable[[LaneHandle], None] = lambda lane: None
        """Called when its exit is confirmed."""
        self._slots = LaneBoardReader(self._board.page)

    def begin(self) -> None:
        """Have it be a lane."""
        self.send(frames.pack(frames.LANE))

    @property
    def available(self) -> bool:
        """Never: it takes no runs that take slots."""
        return False

    @property
    def takes_coroutines(self) -> bool:
        """Whether it may be given some."""
        return not (self.phase in LEFT or self.kept or self.deaf or self.late)

    @property
    def active(self) -> int:
        """How many of its runs take up room."""
        return max(0, self.count - self.awaiting)

    def runs(self) -> int:
        """Return the number of runs it has."""
        return self.count

    def executing(self) -> tuple[int, Span, Progress] | None:
        """Return nothing: it is at many runs."""
        return None

    def _whose(self, marked: bytes) -> bytes:
        """Return the marked run while it is open, else another one: of those that ended nobody hears."""
        for number, span in self.spans.items():
            position = span.chunk.ids.find(marked) // ID_BYTES if marked else -1
            if position >= 0 and self.is_open(number, position):
                return marked
        for number, span in self.spans.items():
            remaining = self.open[number]
            self._latest = span.key((remaining & -remaining).bit_length() - 1).run_id
            break
        return self._latest

    def give(self, number: int, span: Span) -> None:
        """Send a span, all of whose runs it begins."""
        if not self.count:
            self.busy_since_ns = time.monotonic_ns()
        super().give(number, span)
        self.open[number] = (1 << span.stop) - (1 << span.start)
        self.count += len(span)

    def is_open(self, number: int, position: int) -> bool:
        """Say whether it has a run that has not ended."""
        return bool(self.open.get(number, 0) >> position & 1)

    def find(self, key: pb.RunKey) -> tuple[int, Span, int] | None:
        """Return the span (by number) and the position of a run that it has."""
        found = super().find(key)
        return found if found is not None and self.is_open(found[0], found[2]) else None

    def reported(self, number: int, start: int, stop: int) -> Span | None:
        """Take off runs whose end it has told; None when it does not have them."""
        span, remaining = self.spans.get(number), self.open.get(number, 0)
        ended = (1 << stop) - (1 << start)
        if span is None or remaining & ended != ended:
            return None
        self.open[number] = remaining ^ ended
        self.count -= stop - start
        for position in range(start, stop) if self.stopping or self.started else ():
            self.stopping.pop((number, position), None)
            self.started.discard((number, position))
        if not self.open[number]:
            del self.open[number]
            self._forget(number)
        return Span(span.chunk, start, stop)

    def took_back(self, number: int, first: int) -> Span | None:
        """Take off a span that it will not begin; None when it has."""
        self.revoking.discard(number)
        span = self.spans.get(number)
        if span is None or first > span.start:
            return None
        self.count -= len(span)
        del self.open[number]
        for position in range(span.start, span.stop) if self.stopping else ():
            if (number, position) in self.stopping:  # it need not begin to be ended
                span.unwanted[position] = self.stopping.pop((number, position))[1]
        self._forget(number)
        return span

    def _forget(self, number: int) -> None:
        super()._forget(number)
        if not self.spans:
            self.late = self.named = self.kept = False  # nothing is there that could keep its loop

    def surrender(self) -> list[Span]:
        """Take off everything that is open, in parts."""
        parts = [
            part
            for number, span in self.spans.items()
            for part in _open_parts(span, self.open.get(number, 0))
        ]
        self.spans.clear()
        self.open.clear()
        self.count = self.awaiting = 0
        return parts

    def live(self) -> list[tuple[Span, LiveRun]]:
        """Return the runs that are in its loop and have not ended, with their spans."""
        if not self.spans:
            return []  # a lane that was closed has no board any more
        return [
            (self.spans[one.number], one)
            for one in self._slots.live()
            if self.is_open(one.number, one.position)
        ]

    @property
    def unsent_words(self) -> int:
        """How many log records and words of progress wait to be asked for."""
        return self._board.read().logs if self.spans else 0

    def late_seconds(self, now_ns: int) -> float:
        """Return for how long its loop has not gone round."""
        return (now_ns - max(self._slots.beaten_ns(), self.busy_since_ns)) / 1e9 if self.count else 0.0

    def cancel(self, number: int, position: int) -> None:
        """Have a run end at its next await; what cannot be said now is said at the next look."""
        if self._ask(frames.LANE_CANCEL.pack(number, position)):
            self.untold.discard((number, position))
        else:
            self.untold.add((number, position))

    def name_what_keeps_it(self) -> None:
        """Have it say in the log of a run what keeps its loop."""
        self._ask(frames.LANE_LOOK)

    def dropped(self) -> Iterator[pb.RunKey]:
        """Name the runs it has whose end nobody is to hear of."""
        for (number, position), (_, confirm) in self.stopping.items():
            if not confirm and self.is_open(number, position):
                yield self.spans[number].key(position)


def _open_parts(span: Span, remaining: int) -> Iterator[Span]:
    """Return consecutive runs of a span that have not ended, as spans."""
    start = None
    for position in range(span.start, span.stop + 1):
        if remaining >> position & 1:
            start = position if start is None else start
        elif start is not None:
            yield span.part(start, position)
            start = None
