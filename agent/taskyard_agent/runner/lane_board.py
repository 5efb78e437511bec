"""The part of a progress board that lanes use: which runs are live, and whether the loop goes round.

An ordinary worker is at one run, a lane at many, so it has a slot of this page for each of them. A slot is
taken when its run comes to the loop and free when the report of its end has been written, and says when the
run itself has begun: what had not when a lane died is executed elsewhere. The loop notes when it last went
round.
Invariant: only the lane writes; slots are used from the front, so that readers look at few.
"""

import mmap
import struct
from heapq import heappop, heappush
from typing import Final, NamedTuple

from taskyard_agent.runner.progress_board import LANE_AT

MOST_SLOTS: Final = 16_384
"""As many as can be live in a lane: those that go on, and those that wait for other runs."""
_HEAD: Final = struct.Struct("<QQ")
"""When the loop last went round, monotonic; and how many slots were ever used, from the front."""
_SLOT: Final = struct.Struct("<QQQQ")
"""Number of the chunk, position, start, last word; monotonic. 0 as a start for a slot that is free, as a last
word for a run whose turn in the loop has not come yet."""
_SLOTS_AT: Final = LANE_AT + _HEAD.size
LANE_BYTES: Final = _SLOTS_AT + MOST_SLOTS * _SLOT.size
"""Of the page, all in all. What is never written takes no memory."""
AWAITS: Final = (1 << 63) - 1
"""The last word of a run that waits for others: it is not silent, however long that takes."""


class LiveRun(NamedTuple):
    """A run that a lane has in its loop, and whose end it has not reported."""

    number: int
    """The chunk."""
    position: int
    """The run in the chunk."""
    started_ns: int
    heard_ns: int
    """When it last said that it goes on: to begin counts as a word. 0 before that."""

    @property
    def begun(self) -> bool:
        """Whether its code may have done anything."""
        return self.heard_ns > 0

    def seconds(self, now_ns: int) -> float:
        """Return for how long it has been live."""
        return (now_ns - self.started_ns) / 1e9

    def silent_seconds(self, now_ns: int) -> float:
        """Return for how long it has said nothing."""
        return (now_ns - (self.heard_ns or self.started_ns)) / 1e9


class LaneBoard:
    """The lane's view."""

    def __init__(self, descriptor: int) -> None:
        """Map it for writing."""
        self.map = mmap.mmap(descriptor, LANE_BYTES)
        self._free: list[int] = []
        self._used = 0

    def beat(self, now_ns: int) -> None:
        """Note that the loop goes round."""
        _HEAD.pack_into(self.map, LANE_AT, now_ns, self._used)

    def take(self, number: int, position: int, now_ns: int) -> int:
        """Note that a run waits for its first turn; returns its slot."""
        if self._free:
            slot = heappop(self._free)
        else:
            slot, self._used = self._used, self._used + 1
            self.beat(now_ns)
        _SLOT.pack_into(self.map, _SLOTS_AT + slot * _SLOT.size, number, position, now_ns, 0)
        return slot

    def heard(self, slot: int, now_ns: int) -> None:
        """Note that a run begins, a word of it, or that it `AWAITS` others."""
        at = _SLOTS_AT + slot * _SLOT.size
        number, position, started_ns, _ = _SLOT.unpack_from(self.map, at)
        _SLOT.pack_into(self.map, at, number, position, started_ns, now_ns)

    def give_back(self, slot: int) -> None:
        """Note that the end of a run has been told."""
        _SLOT.pack_into(self.map, _SLOTS_AT + slot * _SLOT.size, 0, 0, 0, 0)
        heappush(self._free, slot)


class LaneBoardReader:
    """The agent's view; a look costs no message."""

    def __init__(self, page: mmap.mmap) -> None:
        """Read what is mapped already."""
        self._page = page

    def beaten_ns(self) -> int:
        """Return when the loop last went round; 0 before it first did."""
        return int(_HEAD.unpack_from(self._page, LANE_AT)[0])

    def live(self) -> list[LiveRun]:
        """Return the runs that are live. May mix two of them if the lane writes at this moment."""
        used = min(int(_HEAD.unpack_from(self._page, LANE_AT)[1]), MOST_SLOTS)
        slots = self._page[_SLOTS_AT : _SLOTS_AT + used * _SLOT.size]
        return [LiveRun._make(slot) for slot in _SLOT.iter_unpack(slots) if slot[2]]
