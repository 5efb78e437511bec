"""Ready runs in the order in which they start where nobody else is, and what goes into a chunk. Pure."""

from collections import deque
from collections.abc import Iterator, Set
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.memory import INPUT_OVERHEAD, size_of
from taskyard_controlplane.domain.model import Run

READY: Final = int(RunState.READY)
MAX_CHUNK_BYTES: Final = 512 * 1024
"""Where a chunk of large arguments ends: it is copied several times, and one worker gets all of it."""

FEW_NEEDS: Final = 64
"""So many needs are looked at one by one, empty or not, as most come again; beyond, an agent that is fed from
few of them looks at these alone. Each task of which runs were deferred has a need of its own."""
SHARED_BYTES: Final = 1024
"""A larger input is in a chunk once, however many of its runs need it."""


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
            few = len(parts) <= FEW_NEEDS
            for need, runs in parts.items() if few else _of_many(parts, served):
                if need in served:
                    drop_stale(runs)
                    if runs and (first is None or runs[0].seq < first[0].seq):
                        first = runs
            if first is not None:
                return first
        return None

    @property
    def uniform(self) -> bool:
        """Whether all that was ever here is of one priority and one need."""
        return len(self._sorted) == 1 and len(self._priorities[self._sorted[0]]) == 1

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


def _of_many(parts: dict[OneNeed, deque[Run]], served: Served) -> Iterator[tuple[OneNeed, deque[Run]]]:
    """Iterate over runs whose needs an agent meets; of which there are none any more are let go."""
    needs = (need for need in served if need in parts) if len(served) < len(parts) else list(parts)
    empty: list[OneNeed] = []
    for need in needs:
        if need in served:
            runs = parts[need]
            yield need, runs
            if not runs:
                empty.append(need)
    for need in empty:
        del parts[need]


def drop_stale(runs: deque[Run]) -> None:
    """Drop runs from the front that cannot start any more.

    Those that were cancelled or adopted while they waited are still in the deque; their state says so.
    """
    while runs and runs[0].state != READY:
        runs.popleft().queued = False


def take_alike(runs: deque[Run], limit: int) -> list[Run]:
    """Take up to `limit` runs of one template and flow run from the front."""
    drop_stale(runs)
    if not runs:
        return []
    template, flow = runs[0].template, runs[0].flow
    taken: list[Run] = []
    size = 0
    shared: set[bytes] = set()
    while runs and len(taken) < limit:
        run = runs[0]
        if run.state != READY:
            runs.popleft().queued = False
            continue
        if run.template is not template or run.flow is not flow:
            break
        args = run.args
        if args:
            size += len(args) if type(args) is bytes else size_of(args)
        if run.inputs:
            if run.has_large_inputs:  # a chunk of its own
                size = MAX_CHUNK_BYTES + 1
            else:
                size += _input_bytes(run, shared)
        if run.headers or run.name or run.args_blob:
            size += _extra_bytes(run)
        if size > MAX_CHUNK_BYTES and taken:
            break
        runs.popleft().queued = False
        taken.append(run)
    return taken


def _extra_bytes(run: Run) -> int:
    """Return what few runs have beside arguments and inputs, and adds to a chunk as well."""
    return len(run.headers or b"") + len(run.name or "") + len(run.args_blob or b"")


def _input_bytes(run: Run, shared: set[bytes]) -> int:
    """Return what the inputs of a run add to a chunk; those that are in it already are in `shared`."""
    inputs = run.inputs or ()
    size = INPUT_OVERHEAD * len(inputs) + run.input_bytes
    if run.input_bytes > SHARED_BYTES:
        for upstream_id, result, outcome in inputs:
            each = size_of(result if outcome is None else outcome)
            if each > SHARED_BYTES:
                if upstream_id in shared:
                    size -= each
                shared.add(upstream_id)
    return size
