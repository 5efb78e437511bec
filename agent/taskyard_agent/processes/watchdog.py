"""Looks at the workers' progress boards while there is something to look for.

A look costs no message: it reads shared memory. It finds runs that have started, runs that exceed their
timeout, and quick runs waiting behind a slow one. Invariant: a worker is judged only by a run that two looks
in a row have seen, because a single look may mix two runs.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from taskyard_agent.holding.chunks import Piece
from taskyard_agent.processes.endings import Why
from taskyard_agent.processes.worker_handle import Worker
from taskyard_agent.runner.progress_board import Progress

if TYPE_CHECKING:
    from taskyard_agent.processes.pool import ProcessPool

LOOK_SECONDS: Final = 0.02
IDLE_LOOK_SECONDS: Final = 0.25
SLOW_SECONDS: Final = 0.05
STARTED_SECONDS: Final = 0.1
RETURN_SECONDS: Final = 1.0


class Overseer:
    """Watches the workers of a pool."""

    def __init__(self, pool: "ProcessPool", loop: asyncio.AbstractEventLoop) -> None:
        """Watch on `loop`."""
        self._pool = pool
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._returned_at = 0.0

    def arm(self) -> None:
        """Look again soon, if any worker has runs."""
        if self._timer is None and any(w.pieces for w in self._pool.crew.workers.values()):
            self._timer = self._loop.call_later(LOOK_SECONDS, self._tick)

    def _tick(self) -> None:
        delay = self.look()
        self._timer = None
        if any(worker.pieces for worker in self._pool.crew.workers.values()):
            self._timer = self._loop.call_later(delay, self._tick)

    def look(self) -> float:
        """Look once; returns after how many seconds to look again."""
        delay, slow = IDLE_LOOK_SECONDS, 0
        self._pool.reconsider()
        for worker in list(self._pool.crew.workers.values()):
            if not worker.pieces or worker.ending is not None:
                continue
            executing = worker.executing()
            if executing is None or not self._steady(worker, executing[1]):
                delay = LOOK_SECONDS
                continue
            seconds = executing[1].seconds()
            slow += seconds > SLOW_SECONDS
            delay = min(delay, self._judge(worker, *executing, seconds))
        if slow and slow == sum(not worker.resting for worker in self._pool.crew.workers.values()):
            self._return_stranded()
        return delay

    def _steady(self, worker: Worker, progress: Progress) -> bool:
        seen, worker.seen = worker.seen, progress
        return seen is not None and seen[:3] == progress[:3]

    def _judge(self, worker: Worker, piece: Piece, progress: Progress, seconds: float) -> float:
        position = progress.position
        if position > piece.start or progress.logs:
            worker.poke()
        if not worker.blocked:
            self._pool.sizer.running(seconds)
        if seconds > STARTED_SECONDS and worker.started != progress[:2]:
            worker.started = (progress.number, position)
            self._pool.session.started(piece.key(position), seconds)
        if position in piece.unwanted:
            self._pool.endings.end(worker, piece, position, piece.unwanted[position])
        limit = piece.source.template.timeout
        if limit and seconds >= limit:
            self._pool.endings.kill(worker, Why.TIMED_OUT, piece.key(position))
        waiting = worker.runs() - (position - piece.start) - 1
        if waiting and seconds > SLOW_SECONDS and self._wanted_elsewhere():
            for held in reversed(worker.pieces.values()):
                worker.revoke(held)
        settled = seconds > STARTED_SECONDS and not waiting
        until_timeout = max(0.005, limit - seconds) if limit else IDLE_LOOK_SECONDS
        return min(until_timeout, IDLE_LOOK_SECONDS if settled else LOOK_SECONDS)

    def _wanted_elsewhere(self) -> bool:
        pool = self._pool
        idle = any(worker.available and not worker.pieces for worker in pool.crew.workers.values())
        return idle or self._stranded() > 0

    def _stranded(self) -> int:
        return self._pool.sizer.stranded(self._pool.demand().in_hand)

    def _return_stranded(self) -> None:
        """Return runs that would wait here while other agents may be idle."""
        pool, now = self._pool, self._loop.time()
        count = min(self._stranded(), pool.queue.runs)
        # Not more often than that: while the server has credit left they come straight back.
        if count > 0 and now - self._returned_at >= RETURN_SECONDS:
            self._returned_at = now
            pool.give_back(pool.queue.take_last(count))
