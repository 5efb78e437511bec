"""What to start while runs wait for runs of their own. Pure.

Each waiting run keeps a process, and what it waits for is on its way. Starting other runs meanwhile would
make more of them wait, so once enough wait only runs are started that others wait for. But those may be
executed elsewhere, or not at all: so when none comes for a moment, a few others are started after all.
"""

import logging
from typing import Final

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.1
MOST_WAITING: Final = 200
"""Beyond so many, nothing new is started whatever happens."""
_ENOUGH_PER_SLOT: Final = 2
_PASSABLE_PER_SLOT: Final = 32


class Admission:
    """Weighs the waiting runs of one agent."""

    def __init__(self, slots: int) -> None:
        """Start with nobody waiting."""
        self.crowded = False
        """Whether only runs should be started that other runs wait for."""
        self._slots = slots
        self._limit = self._enough = _ENOUGH_PER_SLOT * slots
        self._idle_since: float | None = None
        self._warned = False

    def weigh(self, waiting: int) -> bool:
        """Take in how many runs wait for others; returns whether that has just become enough of them."""
        if waiting < self._enough:
            self._limit = self._enough
        before, self.crowded = self.crowded, waiting >= min(self._limit, MOST_WAITING)
        if waiting >= MOST_WAITING and not self._warned:
            self._warned = True
            logger.warning(
                "%d runs wait for runs they have submitted, each in a process; no other runs are started",
                waiting,
            )
        return self.crowded and not before

    def passable(self, queued: int) -> int:
        """Return how many of the queued runs must not keep out the children of the run that waits last."""
        return min(queued, _PASSABLE_PER_SLOT * self._slots) if self.crowded else 0

    def look(self, waiting: int, idle: bool, now: float) -> bool:
        """Take in whether a worker has nothing to do; returns whether patience has just run out."""
        if not (self.crowded and idle) or waiting >= MOST_WAITING:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= PATIENCE_SECONDS:
            self._limit = waiting + self._slots
            self.crowded, self._idle_since = False, None
            return True
        return False
