"""The order in which ready runs start: by priority, then sessions in turn, and of each session first of all
what others wait for.

A run that was submitted from inside another run comes before new work of its session, the latest family
first: its caller waits and keeps a process, so that depth first is what keeps the number of waiting processes
small. It takes the turns of its caller's session and is at least as urgent as its caller (`standing`).

Runs with different needs are kept apart, so that those which no agent can execute block nobody. Who can
execute several kinds is fed in the same order across all of them: turns are taken by all that stands in
queues of one name, whatever it needs.
"""

from collections import deque
from collections.abc import Container, Iterator
from typing import NamedTuple

from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.queueing.lanes import OneNeed, Served
from taskyard_controlplane.owner.queueing.standing import Standing
from taskyard_controlplane.owner.queueing.turns import Turns


class ReadyRuns:
    """What is ready in the queues of one name."""

    __slots__ = ("_sorted", "_turns")

    def __init__(self) -> None:
        """Have no runs."""
        self._turns: dict[int, Turns] = {}
        self._sorted: list[int] = []

    def __iter__(self) -> Iterator["Waiting"]:
        """Iterate over all runs, those included that have ended here, in the order in which they would start
        if each session had a turn that is long enough for everything.
        """
        for priority in self._sorted:
            for share in self._turns[priority].shares.values():
                for lane in share.lanes():
                    for need, runs in lane:
                        yield Waiting(priority, share.key, need, runs)

    def turns(self, priority: int) -> Turns:
        """Return the sessions that have runs at a priority."""
        turns = self._turns.get(priority)
        if turns is None:
            self._drop_empty()
            turns = self._turns[priority] = Turns()
            self._sorted = sorted(self._turns)
        return turns

    def _drop_empty(self) -> None:
        """Forget the priorities that nobody has runs at: only when others come, for most have just one."""
        self._turns = {priority: turns for priority, turns in self._turns.items() if turns.shares}
        self._sorted = sorted(self._turns)

    def pop(
        self, served: Served, limit: int, nested_only: Container[int] = (), apart: bool = False
    ) -> list[Run]:
        """Take up to `limit` runs of one template and flow run, which an agent gets next.

        Args:
            served: What it can execute.
            limit: Most runs.
            nested_only: The sessions of which to take only what other runs wait for.
            apart: Whether they share a process there, and so take no time of a slot.
        """
        if not served:
            return []  # who has room for coroutines asks each time, and mostly nobody has any
        for priority in self._sorted:
            turns = self._turns[priority]
            taken = turns.pop(served, limit, nested_only, apart) if turns.shares else []
            if taken:
                return taken
        return []

    def sessions(self, priority: int) -> int:
        """Return how many sessions take turns at a priority."""
        turns = self._turns.get(priority)
        return len(turns.shares) if turns is not None else 0

    def waiting(self, need: OneNeed, share: int, priority: int) -> int:
        """Return how many runs of a session and a need are here at a priority that nobody waits for."""
        turns = self._turns.get(priority)
        if turns is None or share not in turns.shares:
            return 0
        return len(turns.shares[share].new.runs(priority, need))

    def ahead_of(self, run: Run, standing: Standing, served: Served | None = None) -> list["Ahead"]:
        """Return who has runs that come before a ready run, or take turns with it: the most urgent first.

        Of what needs something else only that counts which is `served` with it, unless that is None.

        Costs a little for each session, and for the run's own a look at each of the runs there.
        """
        found: dict[tuple[int, int], Ahead] = {}
        reached = False
        for each in self:
            if each.priority > standing.priority:
                break
            if served is not None and each.need not in served:
                continue
            count, key = len(each.runs), (each.priority, each.share)
            if key == (standing.priority, standing.share):
                position = next((at for at, one in enumerate(each.runs) if one is run), None)
                count = 0 if reached else count if position is None else position
                reached = reached or position is not None
            if count:
                before = found.get(key)
                found[key] = (
                    Ahead(*key, count, each.runs[0])
                    if before is None
                    else before._replace(runs=before.runs + count)
                )
        return list(found.values())

    def clear(self) -> None:
        """Let go of all runs."""
        self._turns.clear()
        self._sorted = []

    def tidy(self) -> None:
        """Drop the runs that ended, or began, while they waited."""
        for turns in self._turns.values():
            turns.tidy()
        self._drop_empty()


class Waiting(NamedTuple):
    """Ready runs of one session that have everything else in common, in the order in which they start."""

    priority: int
    share: int
    """The number of the session."""
    need: OneNeed
    runs: deque[Run]


class Ahead(NamedTuple):
    """How many runs of a session may start before a certain run, and which one of them is next.

    Those that ended while they waited may be counted, and those that are only in the database are not.
    """

    priority: int
    share: int
    """The number of the session; that of the run itself for those it will certainly start after."""
    runs: int
    next_run: Run
    """Of the session that has submitted them, and of their flow run, if they have one."""


class ReadyQueue(OneNeed):
    """The runs with equal needs that could start now: one among several of `ready`."""

    __slots__ = ("coroutines", "ready")

    def __init__(self, ready: ReadyRuns, coroutines: bool = False) -> None:
        """Have no runs among `ready`, those in queues of the same name; `coroutines`: of such functions."""
        self.ready = ready
        self.coroutines = coroutines

    def place_of(self, run: Run, standing: Standing) -> deque[Run]:
        """Return the runs behind which a run has to wait. The same ones until something is taken out."""
        share = self.ready.turns(standing.priority).share(standing.share, self, self.coroutines)
        return share.place_of(run, self, standing.caller_id)

    def waiting(self, share: int, priority: int) -> int:
        """Return how many runs of a session are here at a priority that nobody waits for."""
        return self.ready.waiting(self, share, priority)
