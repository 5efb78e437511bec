"""Which worker executes the runs of which world.

A worker that has executed something belongs to the world of it for good: modules, globals and all that runs
leave behind are that program's. So runs get a worker of their world, else one that has executed nothing. When
all workers at work belong to others, one that is idle rests, and takes its place again when its program has
more to do: to fork a worker takes a millisecond, to import a project again takes many. One unused worker is
kept ready beside those at work, so that the first run of a program need not wait for a fork.
Invariant: no more are at work than there should be; how many rest is bounded, and those of a program that has
ended go.
"""

import asyncio
from typing import Final

from taskyard_agent.holding.worlds import GivenWorld, Interpreter
from taskyard_agent.processes.worker_handle import WorkerHandle, place_of
from taskyard_agent.processes.worker_phase import LEFT, WorkerPhase
from taskyard_agent.processes.workforce import Workforce

LOOK_SECONDS: Final = 1.0
"""Between two looks whether programs still run."""
_UNUSED: Final = frozenset({WorkerPhase.STARTING, WorkerPhase.IDLE, WorkerPhase.RESTING})


class Staff:
    """Chooses among the workers of a workforce."""

    def __init__(self, workforce: Workforce) -> None:
        """Choose among these."""
        self._workforce = workforce
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.TimerHandle | None = None

    def has_any(self, depth: int) -> bool:
        """Say whether any worker with so many spans could take another one."""
        return any(
            len(worker.spans) == depth and worker.available for worker in self._workforce.workers.values()
        )

    def worker_for(self, world: GivenWorld | None, depth: int) -> WorkerHandle | None:
        """Return a worker for runs of a world.

        Args:
            world: The world; None for runs that name none.
            depth: How many spans it has already.

        Returns:
            None when there is none, or none yet: one is on its way then, or will be when others are idle.
        """
        place = place_of(world)
        if world is not None and world.interpreter in self._workforce.troubles:
            world.trouble = self._workforce.troubles[world.interpreter]
        unused = other = None
        for worker in self._workforce.workers.values():
            if len(worker.spans) != depth or not worker.available:
                continue
            if worker.place == place:
                return worker
            if worker.place is None and _starts(worker, world):
                unused = worker
            elif other is None:
                other = worker
        if depth:
            return None
        return unused or (None if other is None else self._exchange(other, world))

    def _exchange(self, idle: WorkerHandle, world: GivenWorld | None) -> WorkerHandle | None:
        """Let an idle worker of another world rest; returns one for this world, if there is one already."""
        workers = self._workforce.workers.values()
        place = place_of(world)
        resting = [worker for worker in workers if worker.phase is WorkerPhase.RESTING]
        found = next((worker for worker in resting if worker.place == place), None)
        if found is None:
            found = next(
                (worker for worker in resting if worker.place is None and _starts(worker, world)), None
            )
        if found is not None:
            self._workforce.exchange(idle, found)
            return found
        if not any(worker.phase is WorkerPhase.STARTING and _starts(worker, world) for worker in workers):
            idle.rest()
            self._workforce.spawn(_interpreter(world))
        return None

    def given(self, worker: WorkerHandle) -> None:
        """See to it that the next program finds a worker, too: this one has its program now."""
        if worker.world is None:
            return
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        workers = self._workforce.workers.values()
        if not any(one.place is None and one.interpreter is None and one.phase in _UNUSED for one in workers):
            self._workforce.spawn(None, spare=True)

    def _look(self) -> None:
        """Let workers go whose program has ended."""
        self._looking = None
        left = False
        ended: dict[bytes, bool] = {}
        for worker in list(self._workforce.workers.values()):
            if worker.world is None or worker.phase in LEFT:
                continue
            if worker.world.id not in ended:
                ended[worker.world.id] = worker.world.has_ended()
            if ended[worker.world.id] and not worker.spans:
                self._workforce.retire(worker)
            else:
                left = True
        self._workforce.close_unused()
        if left:
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look)


def _interpreter(world: GivenWorld | None) -> Interpreter | None:
    return None if world is None or world.trouble else world.interpreter


def _starts(worker: WorkerHandle, world: GivenWorld | None) -> bool:
    return worker.interpreter == _interpreter(world)
