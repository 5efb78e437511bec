"""Runs that wait for others and are only in the database: whom each waits for, and which are due.

A record takes a kilobyte, and there may be a million of them that can do nothing for hours. So of most of
them only a number is kept here, beside the id of every run that they wait for. A run is due when there is
nothing left to wait for, or when one it needed ended in a way it cannot go on after: then its row is read,
its record made, and it waits like any other, for a moment.

Invariant: a run is due once, whatever it waits for and however that ends. It may have been cancelled
meanwhile, or never have been recorded; whoever reads its row sees that.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from taskyard_controlplane.domain.edges import EDGE_BYTES, Edge, accepts, split_edges

KIND_BITS: Final = 4
LANE_BITS: Final = 12
MOST_LANES: Final = 1 << LANE_BITS
_SHIFT: Final = KIND_BITS + LANE_BITS
_KIND: Final = (1 << KIND_BITS) - 1
_LANE: Final = MOST_LANES - 1
BLOCK_BITS: Final = 12
"""Parked runs are counted by blocks of so many bits of their seqs."""


class Parked:
    """Parked runs by those they wait for. A lane is a number that means something to whoever parks."""

    def __init__(self) -> None:
        """Park nothing yet."""
        # An entry is the seq of a run, its lane and the kind of the edge in 64 bits, for which 48 are left to
        # the seq. One alone is kept as a number: that is what long chains have, and an array is twice that.
        self.awaited: dict[bytes, int | array[int]] = {}
        """Who waits here, by the run that is waited for. To be changed by nobody else."""
        self._left: dict[int, int] = {}
        """How many of its edges are open, of runs with more than one; negative, if it was due before that."""
        self.due: dict[int, array[int]] = {}
        """The seqs of runs that are to be read, by lane, none of which is empty."""
        self._blocks: dict[int, int] = {}
        """How many are parked, those included that are due, by the upper bits of their seqs."""

    @property
    def count(self) -> int:
        """How many are parked, those included that are due."""
        return sum(self._blocks.values())

    @property
    def low_seq(self) -> int | None:
        """A number that no parked run has a lower seq than, close to the lowest; None when none is parked.

        Recovery goes through all runs from there on, however many have ended: so it has to follow those that
        are parked now, also where some are at any time.
        """
        return min(self._blocks) << BLOCK_BITS if self._blocks else None

    def add(self, seq: int, lane: int, edges: Sequence[Edge]) -> None:
        """Park a run that waits for at least one other."""
        known = self.awaited
        entry = seq << _SHIFT | lane << KIND_BITS
        for upstream_id, kind in edges:
            others = known.get(upstream_id)
            if others is None:
                known[upstream_id] = entry | kind
            elif isinstance(others, int):
                known[upstream_id] = array("Q", (others, entry | kind))
            else:
                others.append(entry | kind)
        if len(edges) > 1:
            self._left[seq] = len(edges)
        block = seq >> BLOCK_BITS
        self._blocks[block] = self._blocks.get(block, 0) + 1

    def restore(
        self,
        rows: Iterable[tuple[int, int, bytes, bytes | None]],
        lanes: Mapping[tuple[int, bytes | None], int],
    ) -> None:
        """Park runs again: `rows` have a seq, edges in the middle, and two that stand for one of `lanes`."""
        blocks = self._blocks
        for seq, number, packed, session_id in rows:
            lane = lanes[number, session_id]
            if len(packed) != EDGE_BYTES:
                self.add(seq, lane, split_edges(packed))
                continue
            # As `add` does, for what most of them are.
            upstream_id, entry = packed[:-1], seq << _SHIFT | lane << KIND_BITS | packed[-1]
            others = self.awaited.get(upstream_id)
            if others is None:
                self.awaited[upstream_id] = entry
            elif isinstance(others, int):
                self.awaited[upstream_id] = array("Q", (others, entry))
            else:
                others.append(entry)
            block = seq >> BLOCK_BITS
            blocks[block] = blocks.get(block, 0) + 1

    def ended(self, upstream_id: bytes, state: int) -> None:
        """Let go of those that waited for a run; `state` is none when there is no such run."""
        left = self._left
        for entry in self._taken(upstream_id):
            seq = entry >> _SHIFT
            # The last one that a run waited for makes it due, however that ended.
            if seq not in left or self._told(seq, accepts(entry & _KIND, state)):
                self._due_of(entry >> KIND_BITS & _LANE).append(seq)

    def never_recorded(self, upstream_id: bytes) -> None:
        """Forget those that waited for a run which was refused: they were refused with it."""
        for entry in self._taken(upstream_id):
            seq = entry >> _SHIFT
            if seq not in self._left or self._told(seq, content=False):
                self.read((seq,))

    def _taken(self, upstream_id: bytes) -> Iterable[int]:
        entries = self.awaited.pop(upstream_id, ())
        return (entries,) if isinstance(entries, int) else entries

    def _told(self, seq: int, content: bool) -> bool:
        """Take one of several edges from a run; whether the run is due by that."""
        left = self._left[seq]
        due = left > 0 and not content
        rest = left - 1 if left > 0 else left + 1
        if due:
            rest = -rest
        if rest in (0, 1):  # a run that is not in here has one left
            del self._left[seq]
        else:
            self._left[seq] = rest
        return due

    def _due_of(self, lane: int) -> "array[int]":
        due = self.due.get(lane)
        if due is None:
            due = self.due[lane] = array("Q")
        return due

    def take(self, lane: int, limit: int) -> list[int]:
        """Take up to `limit` runs of a lane that are due, in the order in which they became it.

        They count as parked until `read` says that they are not.
        """
        due = self.due[lane]
        taken = due[:limit].tolist()
        del due[:limit]
        if not due:
            del self.due[lane]
        return taken

    def put_back(self, lane: int, seqs: Sequence[int]) -> None:
        """Let runs be due again that were taken and could not be read."""
        self._due_of(lane)[:0] = array("Q", seqs)

    def read(self, seqs: Iterable[int]) -> None:
        """Note that runs which were taken are parked no more."""
        for seq in seqs:
            block = seq >> BLOCK_BITS
            left = self._blocks[block] - 1
            if left:
                self._blocks[block] = left
            else:
                del self._blocks[block]

    def kept(self) -> int:
        """Return how much is kept; 0 when nothing is parked."""
        return len(self.awaited) + len(self._left) + len(self._blocks)
