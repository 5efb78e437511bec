"""What to start while runs wait for runs of their own. Pure.

A run that waits for runs it has submitted keeps a process, and a substitute works in its slot. Starting more
such runs makes more of them wait: a thousand callers at the top of a tree would each have a process before
the first leaf is executed. So there are three modes, by how many runs wait.

*Open*: anything is started. *Crowded*, from two waiting runs a slot on: only runs are started that other runs
wait for (`nested`), which end waiting instead of adding to it. The server is told, and sends only such ones.
Sessions of which no run waits have no part in this: their runs are started as always, and wait at most in
addition to the others.
*Deep*, from half of what the agent allows on: only what the run has submitted that began to wait last, one
run at a time to a worker, and no more at once than may still wait. So a tree is walked depth first, and the
other half is there for its depth.

Each of them could stand still: what is waited for may be executed by another agent, may wait for something
itself, or may never come. So when a worker has been idle for a moment all the same, patience is over: a deep
agent starts any nested run it has, until one more waits; a crowded one raises its bound by one run a slot and
is open until that many wait, and so on; it falls back when few wait again.

At `most` that ends. Whatever waits beyond keeps its slot instead of getting a substitute, so there are never
more than `most` processes besides the slots. Only nested runs are started now, and when nothing else is
executed also those that the latest does not wait for. When the last slot is held by a run that waits while
runs are queued that others wait for, nothing could ever change: `refuses` says that one has to end.
What was measured is in docs/adr/0007-runs-that-others-wait-for.md.
"""

import logging
from typing import Final

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.1
"""A worker idle for so long has seen many round trips pass: nothing nested is on its way."""
DEEP_PATIENCE_SECONDS: Final = 1.0
"""The same when few more may wait: what starts then, and waits as well, takes the place of deeper runs."""
REFUSAL_SECONDS: Final = 10.0
"""So long nothing moves before a run is refused: what it waits for may come from another agent."""
MOST_WAITING: Final = 200
"""How many runs may wait unless the agent is told something else."""
COROUTINES_PER_SLOT: Final = 100
"""Runs of coroutine functions that go on together for each slot, unless an agent is told otherwise."""
_ENOUGH_PER_SLOT: Final = 2
"""One for each slot would leave a slot idle whenever its run goes on and nothing has come yet."""
_PASSABLE_PER_SLOT: Final = 32
"""Queued nested runs that take no room in the window, because the run behind them is waited for as well."""


class Admission:
    """Weighs the waiting runs of one agent."""

    def __init__(self, slots: int, most: int = MOST_WAITING) -> None:
        """Let anything start until runs of so many slots wait; at most `most` of them get a substitute."""
        self.crowded = False
        """Whether only runs should be started that other runs wait for."""
        self.deep = False
        """Whether, of these, only those should be that the run waits for which began to wait last."""
        self.most = most
        self._slots = slots
        self._limit = self._enough = min(_ENOUGH_PER_SLOT * slots, most)
        self._deep_from = max(1, most // 2)
        self._waiting = 0
        self._passed = 0
        self._lenient_up_to = 0
        self._idle_since: float | None = None
        self._stuck_since: float | None = None
        self._warned = False

    def weigh(self, waiting: int, queued: int = 0) -> bool:
        """Take in how many runs wait for others; returns whether that has just become enough of them.

        Args:
            waiting: Runs that wait for others, with or without a substitute.
            queued: Runs that others wait for and that could start here.
        """
        if waiting < self._enough:
            self._limit = self._enough
        if waiting != self._waiting:
            self._stuck_since = None
        one_more = waiting > self._waiting
        self._waiting = waiting
        before, self.crowded = self.crowded, waiting >= min(self._limit, self.most)
        if waiting < self._deep_from or waiting > self._lenient_up_to:
            self._lenient_up_to = 0
        self.deep = self.crowded and waiting >= self._deep_from and not self._lenient_up_to
        if one_more or not self.deep:
            # What this one waits for gets past everything that was queued before it.
            self._passed = queued if self.deep else 0
        if waiting >= self.most and not self._warned:
            self._warned = True
            logger.warning(
                "%d runs wait for runs they have submitted, each in a process, and no more may"
                " (--max-waiting); no other runs are started",
                waiting,
            )
        return self.crowded and not before

    def may_start(self, executing: int) -> bool:
        """Say whether one more may start beside so many that are executed and do not wait."""
        # Each of them may come to wait; a deep agent keeps as many places for that.
        return not self.deep or executing < max(1, self.most - self._waiting)

    def passable(self, queued: int) -> int:
        """Return how many of the queued runs must not keep out those that the run which waits last calls."""
        return min(queued, self._passed + _PASSABLE_PER_SLOT * self._slots) if self.crowded else 0

    def look(self, waiting: int, idle: bool, now: float, queued: int = 0, busy: bool = False) -> bool:
        """Take in what there is to do; returns whether patience has just run out, so that more may start.

        Args:
            waiting: Runs that wait for others.
            idle: Whether a worker has nothing to do.
            now: Seconds, of a clock that is not set.
            queued: Runs that others wait for and that could start here.
            busy: Whether anything is being executed that does not wait.
        """
        patience = self._patience(waiting, queued, busy) if idle else None
        if patience is None:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= patience:
            self._idle_since = None
            self._yield(waiting, queued)
            return True
        return False

    def _patience(self, waiting: int, queued: int, busy: bool) -> float | None:
        """Say how long a worker is to be idle before more is started; None when that is not to be."""
        full = waiting >= self.most
        if not self.crowded or (full and (busy or not (self.deep and queued))):
            return None
        return DEEP_PATIENCE_SECONDS if self.deep and queued else PATIENCE_SECONDS

    def _yield(self, waiting: int, queued: int) -> None:
        if self.deep and queued:
            self._lenient_up_to = waiting
        else:
            self._limit = waiting + self._slots
            self.crowded = False
        self.deep = False

    def refuses(self, waiting: int, queued: int, now: float) -> bool:
        """Say whether the run that began to wait last has to end, because nothing could ever change.

        Every slot is held by a run that waits beyond what is allowed, and what others wait for is queued.
        """
        if not queued or waiting < self.most + self._slots:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since >= REFUSAL_SECONDS:
            self._stuck_since = None
            return True
        return False
