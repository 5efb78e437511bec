"""The order in which ready runs start: by priority, and first of all what others wait for.

A run that was submitted from inside another run comes before new work, the latest family first: its caller
waits and keeps a process, so that depth first is what keeps the number of waiting processes small.

Runs with different needs stand in different queues, so that those which no agent can execute block nobody.
Who can execute several kinds is fed by the same order across all of their queues (`pop_first`).
"""

from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.memory import INPUT_OVERHEAD, size_of
from taskyard_controlplane.domain.model import Run

READY: Final = int(RunState.READY)
MAX_CHUNK_BYTES: Final = 512 * 1024
"""Where a chunk of large arguments ends: it is copied several times, and one worker gets all of it."""

SHARED_BYTES: Final = 1024
"""A larger input is in a chunk once, however many of its runs need it."""

Rank = tuple[int, int, int]  # family (the latest is lowest), priority, seq

_family_numbers = count(1)
"""One for all queues, so that the ages of families in different queues can be compared."""
_NO_FAMILY: Final = 1
"""Above the rank of every family, which is its number, negative."""


class Lane:
    """Runs by priority, in the order they came."""

    __slots__ = ("_sorted", "priorities", "rank")

    def __init__(self, rank: int) -> None:
        """Take the place `rank` among all lanes; lower ones come first."""
        self.rank = rank
        self.priorities: dict[int, deque[Run]] = {}
        self._sorted: list[int] = []

    def runs(self, priority: int) -> deque[Run]:
        """Return the queue of a priority, which stays the same object: whoever asks may keep it."""
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

    def clear(self) -> list[Run]:
        """Take all ready runs."""
        runs = [run for priority in self._sorted for run in self.priorities[priority]]
        for run in runs:
            run.queued = False
        self.priorities.clear()
        self._sorted.clear()
        return [run for run in runs if run.state == READY]

    def tidy(self) -> int:
        """Drop the runs that ended, or began, while they waited; returns how many are left."""
        left = 0
        for runs in self.priorities.values():
            ready = [run for run in runs if run.state == READY]
            if len(ready) < len(runs):
                for run in runs:
                    run.queued = run.state == READY
                runs.clear()
                runs.extend(ready)
            left += len(ready)
        return left

    def first(self) -> Rank | None:
        """Return the rank of the run that `pop` would take first."""
        for priority in self._sorted:
            runs = self.priorities[priority]
            _drop_stale(runs)
            if runs:
                return self.rank, priority, runs[0].seq
        return None


class ReadyQueue:
    """The runs with equal needs that could start now."""

    __slots__ = ("_families", "lane")

    def __init__(self) -> None:
        """Hold new work in one lane, and each family in one of its own while it has runs here."""
        self.lane = Lane(_NO_FAMILY)
        self._families: dict[bytes, Lane] = {}

    def place_of(self, run: Run) -> deque[Run]:
        """Return the runs of a run's kind, behind which it has to wait."""
        caller_id = run.waited_for_by
        if not caller_id:
            lane = self.lane
        else:
            known = self._families.get(caller_id)
            if known is None:
                known = self._families[caller_id] = Lane(-next(_family_numbers))
            lane = known
        return lane.runs(run.template.priority)

    def pop(self, limit: int, nested_only: bool = False) -> list[Run]:
        """Take up to `limit` runs of one template and flow run: what others wait for first, or only that."""
        while self._families:
            caller_id = next(reversed(self._families))
            taken = self._families[caller_id].pop(limit)
            if taken:
                return taken
            del self._families[caller_id]
        return [] if nested_only else self.lane.pop(limit)

    def first(self, nested_only: bool = False) -> Rank | None:
        """Return the rank of the run that `pop` would take first; None when it would take none."""
        while self._families:
            caller_id = next(reversed(self._families))
            rank = self._families[caller_id].first()
            if rank is not None:
                return rank
            del self._families[caller_id]
        return None if nested_only else self.lane.first()

    def tidy(self) -> int:
        """Drop the runs that ended, or began, while they waited; returns how many are left."""
        families = {caller_id: lane.tidy() for caller_id, lane in self._families.items()}
        self._families = {key: lane for key, lane in self._families.items() if families[key]}
        return self.lane.tidy() + sum(families.values())

    def lanes(self) -> list[Lane]:
        """Return all lanes: that of new work, and one per family."""
        return [self.lane, *self._families.values()]


def pop_first(queues: Sequence[ReadyQueue], limit: int, nested_only: bool) -> list[Run]:
    """Take up to `limit` runs of one template and flow run from that of several queues which is first."""
    if len(queues) == 1:  # nearly always: then nothing is compared
        return queues[0].pop(limit, nested_only)
    ranked = [(rank, queue) for queue in queues if (rank := queue.first(nested_only)) is not None]
    return min(ranked, key=lambda entry: entry[0])[1].pop(limit, nested_only) if ranked else []


def _drop_stale(runs: deque[Run]) -> None:
    # Runs that were cancelled or adopted while they waited are still in the deque; their state says so.
    while runs and runs[0].state != READY:
        runs.popleft().queued = False


def _pop_alike(runs: deque[Run], limit: int) -> list[Run]:
    _drop_stale(runs)
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
