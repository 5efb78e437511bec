"""Blobs that nothing refers to, on their way out of the store, and how whoever names one meets that.

    released -> asked (in memory) -> all that was accepted before is durable
             -> doomed, if nothing refers to it
             -> the grace is over, and nobody was told lately that it is there
             -> removing (in memory) -> its bytes go, unless somebody stored it again -> its row goes

Whoever refers to a blob has stored it before, or was told that it is there. So a reference may come at any
moment and is never refused:

- until the bytes begin to go it takes the blob back: in memory at once, and its commit does so in the row;
- afterwards it finds what its own storing has left: a file that was touched, or written anew, stays, and one
  that comes through this process waits until the one before is gone.

What was taken back is looked at once more, later: its reference may have been refused after all.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

TOLD_SECONDS: Final = 600.0
"""For so long whoever stored a blob, or was told that it is there, may refer to it."""
AGAIN_SECONDS: Final = 30.0
"""Who is told the same within this time is not noted again: he may be told it a thousand times a second."""


class LeavingBlobs:
    """Names of blobs, by how far they have come. Of the owner's loop alone."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Nothing leaves; `monotonic` is the time in seconds."""
        self.asked: set[str] = set()
        """Those the database is being asked about."""
        self.due_us: dict[str, int] = {}
        """Doomed ones, and from when on their bytes may go."""
        self.taken_back: set[str] = set()
        """Those that somebody has referred to meanwhile, if that was accepted."""
        self.removals = 0
        """How often bytes have gone: what was seen in the store before may not be there any more."""
        self._removing: dict[str, asyncio.Future[None]] = {}
        self._monotonic = monotonic
        self._told: dict[str, float] = {}
        self._told_in_order: deque[tuple[float, str]] = deque()

    def referred(self, name: str) -> None:
        """Note that something refers to a blob from the open commit on."""
        if name in self.asked or name in self.due_us:
            self.asked.discard(name)
            self.due_us.pop(name, None)
            self.taken_back.add(name)

    def told(self, names: Iterable[str]) -> set[str]:
        """Note that somebody is about to be told that blobs are there; returns those whose bytes are going:
        he has to store them again.
        """
        self._forget_told()
        until = self._monotonic() + TOLD_SECONDS + AGAIN_SECONDS
        going = set()
        for name in names:
            if name in self._removing:
                going.add(name)
            elif self._told.get(name, 0.0) < until - AGAIN_SECONDS:
                self._told[name] = until
                self._told_in_order.append((until, name))
        return going

    def may_go(self, name: str) -> bool:
        """Whether nobody was told lately that a blob is there."""
        self._forget_told()
        return name not in self._told

    def is_going(self, names: Iterable[str]) -> bool:
        """Whether the bytes of some blob are going at this moment."""
        return bool(self._removing) and any(name in self._removing for name in names)

    async def gone(self, name: str) -> None:
        """Wait until no bytes of this name are going, so that new ones stay."""
        while (going := self._removing.get(name)) is not None:
            await asyncio.shield(going)

    def begin_removing(self, names: Iterable[str]) -> None:
        """Note that bytes begin to go."""
        loop = asyncio.get_running_loop()
        for name in names:
            self.due_us.pop(name, None)
            self._removing[name] = loop.create_future()

    def end_removing(self, names: Iterable[str]) -> None:
        """Note that they are gone, or stay."""
        self.removals += 1
        for name in names:
            self._removing.pop(name).set_result(None)

    def _forget_told(self) -> None:
        now = self._monotonic()
        while self._told_in_order and self._told_in_order[0][0] <= now:
            until, name = self._told_in_order.popleft()
            if self._told.get(name) == until:
                del self._told[name]
