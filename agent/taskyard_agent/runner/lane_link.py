"""A lane's end of its link: reports of runs that end in any order, and what the agent asks meanwhile.

What ends in one turn of the loop is told in one write: runs that follow one another in their chunk in one
report, each of them of one template. The slots of the board are given back after that
write, so that a lane that dies in between loses what nobody has heard of.
Invariant: a chunk is begun or was revoked as a whole, because a lane begins all that it reads.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from taskyard_agent.runner import frames
from taskyard_agent.runner.lane_board import LaneBoard
from taskyard_agent.runner.link import PROGRESS_NS, Link
from taskyard_agent.runner.progress_board import BoardWriter
from taskyard_agent.runner.report_columns import NoRoom, Outcome, Packer, Placed
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.execution import result_encoding_of

REPORT_BYTES: Final = 1024 * 1024
"""Results of one report: a frame should not grow far beyond what a socket takes at once."""


class EndedRun(NamedTuple):
    """A run whose end is to be told."""

    number: int
    position: int
    template: template_pb2.RunTemplate
    slot: int
    outcome: Placed | None
    """None when it was cancelled."""
    began_ns: int
    ended_ns: int


class Asked(NamedTuple):
    """What a lane does when the agent asks; called by the thread that listens."""

    cancel: Callable[[int, int], None]
    look: Callable[[], None]


class LaneLink(Link):
    """What a lane says to its agent."""

    def __init__(
        self,
        data: socket.socket,
        control: socket.socket,
        board: BoardWriter,
        packer: Packer,
        slots: LaneBoard,
    ) -> None:
        """Speak over two sockets, as a worker does; `slots` are given back when ends were told."""
        super().__init__(data, control, board, packer)
        self.over: deque[EndedRun] = deque()
        self.asked: Asked
        self._slots = slots
        self._words: dict[bytes, pb.RunProgress] = {}
        self._awaiting = self._told_awaiting = 0
        self._freed: list[int] = []
        self._last = 0
        """Number of the chunk that was begun last."""

    def begins(self, number: int) -> bool:
        """Begin a chunk, unless it was taken back."""
        with self._taking:
            self._last = number
            if number in self._revoked:
                self._revoked.discard(number)
                return False
        return True

    def is_ahead(self, number: int) -> bool:
        """Say whether a chunk has not come yet."""
        return number > self._last

    def _revoke(self, number: int) -> int:
        with self._taking:
            if number <= self._last:
                return frames.NOTHING_REVOKED
            self._revoked.add(number)
            return 0

    def on_control(self, message: bytes) -> None:
        """Act on what the agent asks, in the thread that listens."""
        if len(message) == frames.LANE_CANCEL.size:
            self.asked.cancel(*frames.LANE_CANCEL.unpack(message))
        elif message == frames.LANE_LOOK:
            self.asked.look()
        else:
            super().on_control(message)

    def place(
        self, outcome: Outcome, template: template_pb2.RunTemplate, run_id: bytes, epoch: int
    ) -> Placed:
        """Store what is too large for a report of a run."""
        packer = self._packer
        packer.encoding, packer.arguments = result_encoding_of(template), template.encoding
        return packer.place(outcome, run_id, epoch)

    def awaits(self, by: int) -> None:
        """Count runs that wait for others without keeping the loop; told with what is told next."""
        self._awaiting += by

    @property
    def awaiting(self) -> int:
        """How many runs wait so."""
        return self._awaiting

    @property
    def has_news(self) -> bool:
        """Whether the agent is to be told something."""
        return bool(self.over) or self._awaiting != self._told_awaiting

    def heartbeat(self, progress: pb.RunProgress) -> None:
        """Keep a word of progress of a run; the agent asks for the newest of each."""
        if self._is_copy():
            return
        with self._sending:
            self._words[progress.key.run_id] = progress
            self._note_unsent()

    def _note_unsent(self) -> None:
        self._board.logs(len(self._logs) + self.output.unsent + len(self._words))

    def flush(self) -> None:
        """Send what has ended, what was logged, and how many wait for others."""
        if self._is_copy():
            return
        with self._sending:
            self._send_logs()
            self._send_output()
            self._send_words(at_once=bool(self.over))  # before the end of the run that said it
            if self.torn:
                return
            ended = [self.over.popleft() for _ in range(len(self.over))]
            awaiting = self._awaiting
            if not ended and awaiting == self._told_awaiting:
                return
            self.torn = True  # what was taken out, and is cut off, is lost
            told = list(self._reports(ended))
            if awaiting != self._told_awaiting:
                self._told_awaiting = awaiting
                told.append(frames.pack(frames.AWAITING, frames.AWAITING_BODY.pack(awaiting)))
            self._write_whole(b"".join(told))
            self._freed.extend([one.slot for one in ended])

    def give_back_slots(self) -> None:
        """Free the slots of runs whose ends were told; in the thread of the loop, which takes them."""
        with self._sending:
            freed, self._freed = self._freed, []
        for slot in freed:
            self._slots.give_back(slot)

    def _reports(self, ended: list[EndedRun]) -> Iterator[bytes]:
        for group in _groups([one for one in ended if one.outcome is not None]):
            yield self._told(group)
        for one in ended:
            if one.outcome is None:
                yield frames.pack(frames.STOPPED, frames.STOPPED_BODY.pack(one.number, one.position))

    def _told(self, group: list[EndedRun]) -> bytes:
        first = group[0]
        self._number, self._reported = first.number, first.position
        taken = [(one.outcome, one.began_ns, one.ended_ns) for one in group if one.outcome is not None]
        try:
            return self._report(taken)
        except NoRoom as lack:
            return self._report_apart(taken, lack)

    def _send_words(self, at_once: bool) -> None:
        now = time.monotonic_ns()
        if not self._words or not (at_once or now - self._progress_ns >= PROGRESS_NS):
            return
        self._progress_ns = now
        words, self._words = self._words, {}
        self._note_unsent()
        for progress in words.values():
            self._write(frames.pack(frames.PROGRESS, progress.SerializeToString()))

    def blocks(self, blocked: bool, number: int, position: int) -> None:
        """Say that a run keeps the loop while it waits for other runs: nothing else goes on here."""
        with suppress(OSError):
            self.flush()
            kind = frames.BLOCKED if blocked else frames.UNBLOCKED
            self.send(kind, frames.STOPPED_BODY.pack(number, position))


def _groups(ended: list[EndedRun]) -> Iterator[list[EndedRun]]:
    """Put runs together that follow one another in their chunk, as far as they fit into one report."""
    ended.sort(key=lambda one: one[:2])
    group: list[EndedRun] = []
    size = 0
    for one in ended:
        follows = group and (one.number, one.position) == (group[-1].number, group[-1].position + 1)
        if group and (not follows or size > REPORT_BYTES):
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one.outcome) if isinstance(one.outcome, bytes) else 0
    if group:
        yield group
