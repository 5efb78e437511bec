"""Ready runs in the order in which they start if nobody else is there. Pure."""

from collections import deque
from collections.abc import Iterator, Set

from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.queueing.taking import READY, drop_stale


class OneNeed:
    """What runs are kept apart by that need different things of an agent; compared by identity."""

    __slots__ = ()


Served = Set[OneNeed]
"""The needs that an agent meets."""


class Lane:
    """Runs by priority, and by what they need of an agent, each in the order they came."""

    __slots__ = ("_priorities", "_sorted")

    def __init__(self) -> None:
        """Have no runs."""
        self._priorities: dict[int, dict[OneNeed, deque[Run]]] = {}
        self._sorted: list[int] = []

    def __iter__(self) -> Iterator[tuple[OneNeed, deque[Run]]]:
        """Iterate over its runs by what they need; lower priorities first."""
        for priority in self._sorted:
            yield from self._priorities[priority].items()

    def runs(self, priority: int, need: OneNeed) -> deque[Run]:
        """Return the runs of a priority and a need, behind which another one has to wait."""
        parts = self._priorities.get(priority)
        if parts is None:
            parts = self._priorities[priority] = {}
            self._sorted = sorted(self._priorities)
        runs = parts.get(need)
        if runs is None:
            runs = parts[need] = deque()
        return runs

    def first(self, served: Served) -> deque[Run] | None:
        """Return the runs of which an agent gets the first one; None when there is nothing for it."""
        for priority in self._sorted:
            first, parts = None, self._priorities[priority]
            for need, runs in parts.items():
                if need in served:
                    drop_stale(runs)
                    if runs and (first is None or runs[0].seq < first[0].seq):
                        first = runs
            if first is not None:
                return first
        return None

    @property
    def empty(self) -> bool:
        """Whether nothing is here that could start."""
        for _, runs in self:
            drop_stale(runs)
            if runs:
                return False
        return True

    def tidy(self) -> None:
        """Drop the runs that ended, or began, while they waited, and what is empty then."""
        for priority, parts in list(self._priorities.items()):
            for need, runs in list(parts.items()):
                ready = [run for run in runs if run.state == READY]
                if len(ready) < len(runs):
                    for run in runs:
                        run.queued = run.state == READY
                    runs.clear()
                    runs.extend(ready)
                if not ready:
                    del parts[need]
            if not parts:
                del self._priorities[priority]
        self._sorted = sorted(self._priorities)
