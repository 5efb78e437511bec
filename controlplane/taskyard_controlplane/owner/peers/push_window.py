"""How much waits in memory to be read by clients: a window in bytes for each, and one for all together.

What is pushed to a client counts from then until gRPC has taken it over, and gRPC takes it over only as fast
as the client reads. So a client that reads never meets its window, and one that stands still costs as much as
the window and no more: results beyond it are owed (`Owed`), which is a few bytes each, and read back from the
database when there is room again.

Whoever has nothing in memory may always have one thing more. Otherwise a client would wait for room that only
others can give back, and they might never read.
"""

from array import array
from typing import Final

from taskyard_contract.ids import ID_BYTES, split_ids

PIECE: Final = 256 * 1024
"""What is taken from the common window at a time, so that most results need to look at their own only."""
OVERHEAD: Final = 100
"""What an item costs beside its payload."""


class Pool:
    """The window of all clients together."""

    def __init__(self, most: int) -> None:
        """Have room for `most` bytes."""
        self.left = most


class Share:
    """What one client has of a window: so much of it is used, and so much of that is being written."""

    __slots__ = ("_granted", "_most", "_pool", "_sending", "room")

    def __init__(self, pool: Pool, most: int) -> None:
        """Take at most `most` bytes out of `pool`."""
        self._pool = pool
        self._most = most
        self._granted = 0
        self._sending = 0
        self.room = 0
        """How many bytes may be used without asking. To be taken from where that happens for every run."""

    @property
    def used(self) -> int:
        """How many bytes wait, or are being written."""
        return self._granted - self.room

    def take(self, size: int) -> bool:
        """Use `size` bytes more, if there is room for them."""
        if size > self.room and not self.widen(size):
            return False
        self.room -= size
        return True

    def widen(self, size: int) -> bool:
        """Get room for `size` bytes, which there is not; returns whether there is now."""
        missing = size - self.room
        for piece in (max(missing, PIECE), missing):
            if self._granted + piece <= self._most and piece <= self._pool.left:
                self._grant(piece)
                return True
        if self.used:
            return False
        self._grant(missing)
        return True

    def _grant(self, size: int) -> None:
        self._pool.left -= size
        self._granted += size
        self.room += size

    def sending(self, size: int) -> None:
        """Note that so much of what is used is in the frame that is about to be written."""
        self._sending += size

    def sent(self) -> None:
        """Take back what was being written: it was. Whoever uses nothing any more keeps nothing."""
        self.room += self._sending
        self._sending = 0
        if self.room == self._granted:
            self.forgo()

    def forgo(self) -> int:
        """Give up all that waits; returns what is being written, which stays counted until `returned`."""
        sending, self._sending = self._sending, 0
        self._pool.left += self._granted - sending
        self._granted = self.room = 0
        return sending

    def returned(self, size: int) -> None:
        """Give back what was being written on a stream that has ended."""
        self._pool.left += size


class Owed:
    """Results that a client has to be told and that are not in memory: ids and sizes, the oldest first."""

    def __init__(self) -> None:
        """Owe nothing."""
        self._ids = bytearray()
        self.sizes = array("Q")
        """To be looked at where that happens for every run: whether anything is owed."""

    def __len__(self) -> int:
        """Return how many results are owed."""
        return len(self.sizes)

    def add(self, run_id: bytes, size: int) -> None:
        """Owe the result of a run, which has so many bytes."""
        self._ids += run_id
        self.sizes.append(size)

    def take(self, share: Share, most: int) -> tuple[list[bytes], int]:
        """Return the ids of as many as there is room for, `most` at a time, and the room they were given."""
        count = total = 0
        for size in self.sizes[:most]:
            if not share.take(size):
                break
            count, total = count + 1, total + size
        ids = split_ids(bytes(self._ids[: count * ID_BYTES]))
        del self._ids[: count * ID_BYTES], self.sizes[:count]
        return ids, total

    def clear(self) -> None:
        """Owe nothing any more."""
        self._ids.clear()
        del self.sizes[:]
