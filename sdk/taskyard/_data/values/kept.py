"""What this process keeps of outcomes that have come: as many bytes as it may, the latest ones.

A program may hold the futures of a million runs. What is small stays in them. What is not is entered here,
and when there is too much of it the oldest outcomes are dropped, decoded or not: whoever asks for one then
has it read again, because the control plane has it anyway. A dropped outcome leaves `Dropped` in its place,
which it shares with those that were dropped with it: who asks for one after the other gets several with each
question.

Runs are held by weak references, so that what is consumed and let go is gone at once; it is counted until
there is too much the next time. Invariants: what came last is never dropped, however large it is; what is
entered is at most `most` bytes, apart from that one.
"""

import os
import threading
from collections import deque
from typing import Final, Protocol, TypeVar
from weakref import ref

SMALL_BYTES: Final = 512
"""Of outcomes up to this size a future keeps what it has: it is hardly larger than the future itself."""
MOST_BYTES: Final = 256 * 1024 * 1024
"""What is kept of larger ones, unless the program says something else."""
AHEAD_BYTES: Final = 8 * 1024 * 1024
"""How much is read again at a time for whoever asks for one outcome after the other."""
AHEAD_RUNS: Final = 512
"""And of how many runs."""
_TOGETHER: Final = 4_096
"""How many runs share a `Dropped`: they are looked through for one that is asked for out of turn."""


class Holder(Protocol):
    """A run whose outcome may be dropped."""

    def drop(self, plain: "Dropped", other: "Dropped") -> "Dropped | None":
        """Replace the outcome, by `plain` if it was an ordinary value; returns what it was replaced by."""
        ...

    def has_dropped(self, dropped: "Dropped") -> bool:
        """Say whether this is in the place of its outcome now."""
        ...


H = TypeVar("H", bound=Holder)


class Decoded:
    """Stands for an ordinary value once that is decoded: the bytes are needed no more."""

    __slots__ = ()


DECODED: Final = Decoded()
"""The only one."""


class Dropped:
    """Stands for outcomes that were dropped together, in the order in which they had come."""

    __slots__ = ("_bytes", "_next", "_runs", "_window", "is_plain")

    def __init__(self, *, is_plain: bool) -> None:
        """Begin with none; ordinary values of completed runs are apart from all other outcomes."""
        self.is_plain = is_plain
        self._runs: list[ref[Holder]] = []
        self._bytes = 0
        self._next = -1
        self._window = 1

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._runs)

    def add(self, run: "ref[Holder]", size: int) -> None:
        """Add a run whose outcome had so many bytes."""
        self._runs.append(run)
        self._bytes += size

    def ask_for(self, run: H) -> list[H]:
        """Return the runs to read again for somebody who asks for one: it comes first.

        Whoever goes on where the last answer ended gets twice as many as the last time.
        """
        wanted, runs = ref(run), self._runs
        if 0 <= self._next < len(runs) and runs[self._next] is wanted:
            self._window = min(2 * self._window, AHEAD_RUNS)
            start = self._next
        else:
            self._window = 1
            start = next((at for at, each in enumerate(runs) if each is wanted), len(runs))
        fitting = AHEAD_BYTES * len(runs) // max(1, self._bytes)
        end = self._next = start + max(1, min(self._window, fitting))
        others = [each() for each in runs[start + 1 : end]]
        return [run, *(each for each in others if isinstance(each, type(run)) and each.has_dropped(self))]


class Kept:
    """The outcomes that are kept. Thread-safe."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        """Keep at most so many bytes."""
        self.most = most
        self.size = 0
        """Bytes that are entered, some of runs that are gone perhaps."""
        self._entries: deque[tuple[ref[Holder], int]] = deque()
        self._lock = threading.RLock()  # a destructor that asks for a result may run while it is held

    def enter(self, run: Holder, size: int) -> None:
        """Enter a run whose outcome is not small; what came before it may be dropped."""
        with self._lock:
            self._entries.append((ref(run), size))
            self.size += size
            if self.size > self.most:
                self._make_room()

    def _make_room(self) -> None:
        """Forget who is gone and drop the oldest, rather more than needed: it takes a look at all of them."""
        entries, self._entries = self._entries, deque()
        entries = deque(entry for entry in entries if entry[0]() is not None)
        self.size = sum(size for _, size in entries)
        plain, other = Dropped(is_plain=True), Dropped(is_plain=False)
        while self.size > self.most // 4 * 3 and len(entries) > 1:
            entry, size = entries.popleft()
            self.size -= size
            run = entry()
            into = run.drop(plain, other) if run is not None else None
            if into is not None:
                into.add(entry, size)
            if len(plain) >= _TOGETHER:
                plain = Dropped(is_plain=True)
            if len(other) >= _TOGETHER:
                other = Dropped(is_plain=False)
        entries.extend(self._entries)  # by a destructor
        self._entries = entries

    def forget(self) -> None:
        """Be as new in a forked child, where the lock may be held by a thread that is not here."""
        self.__init__(self.most)  # type: ignore[misc]  # which is what this means


KEPT: Final = Kept()
"""What this process keeps."""

os.register_at_fork(after_in_child=KEPT.forget)
