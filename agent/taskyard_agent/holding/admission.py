"""What to start while runs wait for runs of their own. Pure.

A run that waits for runs it has submitted keeps a process, and a substitute works in its slot. Starting more
such runs makes more of them wait: a thousand callers at the top of a tree would each have a process before
the first leaf is executed. So there are two modes.

*Open*: anything is started. *Crowded*, from two waiting runs a slot on: only runs are started that other runs
wait for (`nested`), which end waiting instead of adding to it. The server is told, and sends only such ones.

Crowded alone could stand still: what is waited for may be executed by another agent, may wait for something
itself, or may never come. So when a worker has been idle for a moment all the same, patience is over: the
bound is raised by one run a slot and the mode is open until that many wait, and so on; it falls back when few
wait again. At `MOST_WAITING` that ends, whatever happens: processes are what the machine has least of.
What was measured is in docs/adr/0007-runs-that-others-wait-for.md.
"""

import logging
from typing import Final

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.1
"""A worker idle for so long has seen many round trips pass: nothing nested is on its way."""
MOST_WAITING: Final = 200
"""Beyond so many, nothing new is started whatever happens: each of them is a process."""
_ENOUGH_PER_SLOT: Final = 2
"""One for each slot would leave a slot idle whenever its run goes on and nothing has come yet."""
_PASSABLE_PER_SLOT: Final = 32
"""Queued nested runs that take no room in the window, because the run behind them is waited for as well."""


class Admission:
    """Weighs the waiting runs of one agent."""

    def __init__(self, slots: int) -> None:
        """Let anything start until runs of so many slots wait."""
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
        """Return how many of the queued runs must not keep out those that the run which waits last calls."""
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
