"""Ending runs: by cancellation, timeout, drop, or because their worker died under them.

A worker's process group gets TERM, a grace, then KILL. Invariant: a run that had started counts as ended only
when the exit of its process is confirmed, and only the run on whose account a worker ended pays for it; all
others of that worker execute elsewhere.
"""

import asyncio
import signal
from enum import Enum
from typing import TYPE_CHECKING, Final

from taskyard_agent.holding.chunks import Piece
from taskyard_agent.processes.terminating import describe_exit, signal_group
from taskyard_agent.processes.worker_handle import Worker
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.states import StateReason

if TYPE_CHECKING:
    from taskyard_agent.processes.pool import ProcessPool

MAX_STRIKES: Final = 3


class Why(Enum):
    """Why a worker is being ended. The value is the grace between TERM and KILL in seconds."""

    CANCELLED = (1, 2.0)
    DROPPED = (2, 2.0)
    TIMED_OUT = (3, 0.5)
    STOPPED = (4, 2.0)
    LEASE_LOST = (5, 0.0)

    @property
    def grace(self) -> float:
        """Seconds between TERM and KILL; 0 means KILL at once."""
        return self.value[1]


class Ending:
    """A worker on its way out, on account of one of its runs."""

    def __init__(self, why: Why, key: pb.RunKey) -> None:
        """Remember the reason and the run."""
        self.why = why
        self.key = key
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, pid: int) -> None:
        """Ask the process group to end, and make it."""
        grace = self.why.grace
        signal_group(pid, signal.SIGTERM if grace else signal.SIGKILL)
        if grace:
            self._timer = loop.call_later(grace, signal_group, pid, signal.SIGKILL)

    def done(self) -> None:
        """Note that the process has ended: its id may soon belong to another one."""
        if self._timer is not None:
            self._timer.cancel()


class Endings:
    """Ends runs that workers have."""

    def __init__(self, pool: "ProcessPool", loop: asyncio.AbstractEventLoop) -> None:
        """Serve a pool."""
        self._pool = pool
        self._loop = loop

    def end(self, worker: Worker, piece: Piece, position: int, confirm: bool) -> None:
        """End a run: with its process when it is executing, without when it has not started.

        Args:
            worker: The worker that has it.
            piece: The piece it is in.
            position: Its position.
            confirm: Whether to report its end as a cancellation.
        """
        executing = worker.executing()
        if executing is not None and executing[0] is piece and executing[1].position == position:
            piece.unwanted.pop(position, None)
            self.kill(worker, Why.CANCELLED if confirm else Why.DROPPED, piece.key(position))
        else:
            piece.unwanted[position] = confirm
            worker.revoke(piece)

    def abandon(self, worker: Worker) -> None:
        """End everything a worker has, reporting nothing."""
        for piece in worker.pieces.values():
            piece.unwanted = dict.fromkeys(range(piece.start, piece.stop), False)
        first = next(iter(worker.pieces.values()))
        self.kill(worker, Why.LEASE_LOST, first.key(first.start))

    def kill(self, worker: Worker, why: Why, key: pb.RunKey) -> None:
        """End a worker on account of a run."""
        if worker.ending is None:
            worker.ending = Ending(why, key)
            worker.ending.begin(self._loop, worker.pid)
            self._pool.crew.fit()

    def settle(self, worker: Worker, status: int | None) -> list[Piece]:
        """Report the run on whose account a worker ended; returns what is left for another one."""
        executing = worker.executing()
        if worker.ending is not None:
            worker.ending.done()
        rest: list[Piece] = []
        for index, piece in enumerate(worker.pieces.values()):
            if worker.ending is not None:
                self._confirm(piece, worker.ending)
            elif executing is None and index == 0:
                self._blame(piece, None, status)
            elif executing is not None and executing[0] is piece:
                self._blame(piece, executing[1].position, status)
            rest += self.wanted(piece)
        worker.pieces.clear()
        return rest

    def _confirm(self, piece: Piece, ending: Ending) -> None:
        position = piece.find(ending.key)
        if position is None or position in piece.unwanted:
            return
        piece.unwanted[position] = ending.why is Why.CANCELLED
        if ending.why is Why.TIMED_OUT:
            limit = piece.source.template.timeout
            message = f"the attempt exceeded its timeout of {limit:g} seconds and was ended"
            self._pool.session.lost(ending.key, StateReason.TIMED_OUT, message)
        elif ending.why is Why.STOPPED:
            message = "the agent stopped before the run had ended"
            self._pool.session.lost(ending.key, StateReason.WORKER_DIED, message)

    def _blame(self, piece: Piece, culprit: int | None, status: int | None) -> None:
        if culprit is None:
            # It died between runs. That is nobody's fault, unless it happens again and again.
            piece.strikes += 1
            culprit = piece.start if piece.strikes >= MAX_STRIKES else None
        if culprit is not None and culprit not in piece.unwanted:
            self._pool.session.lost(piece.key(culprit), StateReason.WORKER_DIED, describe_exit(status))
            piece.unwanted[culprit] = False

    def wanted(self, piece: Piece) -> list[Piece]:
        """Return a piece without the runs that must not execute, after confirming those that need it."""
        unwanted = [at for at in piece.unwanted if piece.start <= at < piece.stop]
        for position in unwanted:
            if piece.unwanted[position]:
                self._pool.session.cancelled(piece.key(position))
        self._pool.removed(len(unwanted))
        return piece.wanted()
