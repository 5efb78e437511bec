"""The order in which ready runs start: by queue, by priority, and first of all what others wait for.

A run that was submitted from inside another run comes before new work, the latest family first: its parent
waits and keeps a process, so that depth first is what keeps the number of waiting processes small.
"""

from collections import deque
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import Run

READY: Final = int(RunState.READY)
MAX_CHUNK_BYTES: Final = 512 * 1024


class Lane:
    """Runs by priority, in the order they came."""

    __slots__ = ("_sorted", "priorities")

    def __init__(self) -> None:
        """Start empty."""
        self.priorities: dict[int, deque[Run]] = {}
        self._sorted: list[int] = []

    def runs(self, priority: int) -> deque[Run]:
        """Return the runs of one priority."""
        runs = self.priorities.get(priority)
        if runs is None:
            runs = self.priorities[priority] = deque()
            self._sorted = sorted(self.priorities)
        return runs

    def pop(self, limit: int) -> list[Run]:
        """Take up to `limit` runs of one template and flow run from the front; lower priorities first."""
        for priority in self._sorted:
            taken = _pop_alike(self.priorities[priority], limit)
            if taken:
                return taken
        return []


class ReadyQueue:
    """The runs of one queue that could start now."""

    __slots__ = ("_families", "lane")

    def __init__(self) -> None:
        """Start empty."""
        self.lane = Lane()
        self._families: dict[bytes, Lane] = {}

    def append(self, run: Run) -> None:
        """Put a run behind those of its kind."""
        parent_id = caller_of(run)
        if not parent_id:
            lane = self.lane
        else:
            known = self._families.get(parent_id)
            lane = known if known is not None else self._families.setdefault(parent_id, Lane())
        lane.runs(run.template.priority).append(run)

    def pop(self, limit: int, nested_only: bool = False) -> list[Run]:
        """Take up to `limit` runs of one template and flow run: what others wait for first, or only that."""
        while self._families:
            parent_id = next(reversed(self._families))
            taken = self._families[parent_id].pop(limit)
            if taken:
                return taken
            del self._families[parent_id]
        return [] if nested_only else self.lane.pop(limit)


def caller_of(run: Run) -> bytes:
    """Return the id of the task run that a run was submitted from; empty for none."""
    if run.parent_id:
        return run.parent_id
    return run.session.parent_run_id if run.session is not None else b""


def _pop_alike(runs: deque[Run], limit: int) -> list[Run]:
    # Runs that were cancelled or adopted while they waited are still in the deque; their state says so.
    while runs and runs[0].state != READY:
        runs.popleft().queued = False
    if not runs:
        return []
    template, flow = runs[0].template, runs[0].flow
    taken: list[Run] = []
    size = 0
    while runs and len(taken) < limit and size < MAX_CHUNK_BYTES:
        run = runs[0]
        if run.state == READY and (run.template is not template or run.flow is not flow):
            break
        runs.popleft().queued = False
        if run.state != READY:
            continue
        taken.append(run)
        size += (len(run.args) if run.args else 0) + (1024 * len(run.inputs) if run.inputs else 0)
    return taken
