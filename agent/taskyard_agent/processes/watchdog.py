"""The watchdog looks at the workers' progress boards while there is something to look for.

A look costs no message: it reads shared memory. It finds runs that have started, runs that exceed their
timeout, unwanted runs that started all the same, and quick runs waiting behind a slow one: those are asked
back when another worker is idle or other agents may be. A run that waits for others is looked at when there
may be something new about it, not with each look: hundreds may wait. Invariant: a worker is judged only by a
run that two looks in a row have seen, because a single look may mix two runs.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.intake import Intake
from taskyard_agent.processes.endings import Endings
from taskyard_agent.processes.terminating import Why
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner.progress_board import Progress

LOOK_SECONDS: Final = 0.02
"""Between two looks while runs begin and end: 50 reads of shared memory a second cost nothing that shows."""
IDLE_LOOK_SECONDS: Final = 0.25
"""Between two looks at runs that were told of and hold nobody up. Cancellations do not wait for it."""
SLOW_SECONDS: Final = 0.05
"""A run that has taken so long holds up what waits behind it: a whole window of quick runs takes less."""
STARTED_SECONDS: Final = 0.1
"""A run that has taken so long is reported as started; of quicker ones the end is news enough."""
LEAST_LOOK_SECONDS: Final = 0.005
"""Before a look at a run whose timeout is about to pass: the loop must get to something else in between."""


class Watchdog:
    """Watches the workers of a pool."""

    def __init__(
        self,
        workforce: Workforce,
        endings: Endings,
        holdings: Holdings,
        intake: Intake,
        clock_ns: Callable[[], int],
    ) -> None:
        """Judge what the boards of `workforce` show, once `arm` has been called; workers note `clock_ns`."""
        self._workforce = workforce
        self._endings = endings
        self._holdings = holdings
        self._intake = intake
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._seen: dict[int, Progress] = {}  # by worker, at the last look
        self._started: dict[int, tuple[int, int]] = {}  # by worker, the run that was reported as started
        self._next_look: dict[int, float] = {}  # by worker whose run waits for others, not before this

    def arm(self) -> None:
        """Look again soon, if any worker has runs."""
        if self._timer is None and self._anything_to_see():
            self._timer = self._loop.call_later(LOOK_SECONDS, self._tick)

    def stop(self) -> None:
        """Let go of the timer: the boards are about to be closed."""
        if self._timer is not None:
            self._timer.cancel()

    def restate(self) -> None:
        """Report again what has started: the server may not know it any more."""
        self._started.clear()

    def _anything_to_see(self) -> bool:
        return any(worker.spans and not worker.is_lane for worker in self._workforce.workers.values())

    def _tick(self) -> None:
        delay = self.look()
        self._timer = None
        if self._anything_to_see():
            self._timer = self._loop.call_later(delay, self._tick)

    def look(self) -> float:
        """Look once; returns after how many seconds to look again."""
        delay, slow, now = IDLE_LOOK_SECONDS, 0, self._loop.time()
        if self._intake.reconsider(self._workforce.idle(), now):
            self._workforce.dispatch()
        if self._intake.refuses(now):
            self._refuse()
        now_ns = self._clock_ns()
        seen, self._seen = self._seen, {}
        for worker in list(self._workforce.workers.values()):
            if worker.phase is not WorkerPhase.BUSY or worker.is_lane:
                continue
            nothing_new = self._next_look.get(worker.number, now) - now
            if nothing_new > 0 and worker.blocked and worker.number in seen:
                self._seen[worker.number] = seen[worker.number]
                slow += 1
                delay = min(delay, max(LOOK_SECONDS, nothing_new))  # those of many workers come together
                continue
            executing = worker.executing()
            if executing is None:
                delay = LOOK_SECONDS
                continue
            number, _, progress = executing
            self._seen[worker.number] = progress
            if not _same_run(seen.get(worker.number), progress):
                delay = LOOK_SECONDS
                continue
            seconds = progress.seconds(now_ns)
            slow += seconds > SLOW_SECONDS
            next_look = self._judge(worker, number, progress, seconds)
            if worker.spans[number].chunk.template.heartbeat_timeout and not worker.blocked:
                next_look = min(next_look, self._judge_silence(worker, number, progress, now_ns))
            if worker.blocked:
                self._next_look[worker.number] = now + next_look
            delay = min(delay, next_look)
        if slow and slow == self._workforce.at_work():
            self._intake.give_back_stranded(now)
        self._forget_gone()
        return delay

    def _refuse(self) -> None:
        """End the run that began to wait last: as many wait as may, and it holds the slot they wait for."""
        worker = self._workforce.latest_waiting()
        executing = worker.executing() if worker is not None else None
        if worker is not None and executing is not None:
            _, span, progress = executing
            self._endings.kill(worker, Why.WAITING_REFUSED, span.key(progress.position))

    def _forget_gone(self) -> None:
        workers = self._workforce.workers
        for kept in (self._started, self._next_look):
            for number in kept.keys() - workers.keys():
                del kept[number]

    def _judge(self, worker: WorkerHandle, number: int, progress: Progress, seconds: float) -> float:
        """Act on a run that has been executing for so long; returns after how many seconds to look again."""
        span, position = worker.spans[number], progress.position
        if position > span.start or progress.logs:
            worker.poke()  # what ended before it, and what it has logged, need not wait for its end
        if not worker.blocked:
            self._intake.sizer.running(seconds)
        if seconds > STARTED_SECONDS and self._started.get(worker.number) != progress[:2]:
            self._started[worker.number] = progress[:2]
            self._holdings.session.started(span.key(position), seconds)
        if position in span.unwanted:
            self._endings.end(worker, number, position, span.unwanted[position])
        limit = span.chunk.template.timeout
        if limit and seconds >= limit:
            self._endings.kill(worker, Why.TIMED_OUT, span.key(position))
        waiting = worker.runs() - (position - span.start) - 1
        if waiting and seconds > SLOW_SECONDS and self._wanted_elsewhere(span.chunk.share):
            worker.revoke_all()
        settled = seconds > STARTED_SECONDS and not waiting
        until_timeout = max(LEAST_LOOK_SECONDS, limit - seconds) if limit else IDLE_LOOK_SECONDS
        return min(until_timeout, IDLE_LOOK_SECONDS if settled else LOOK_SECONDS)

    def _judge_silence(self, worker: WorkerHandle, number: int, progress: Progress, now_ns: int) -> float:
        """End a run that has been silent for too long; returns after how many seconds to look again.

        One that waits for others is not asked for words: it cannot say any.
        """
        span = worker.spans[number]
        left = span.chunk.template.heartbeat_timeout - progress.silent_seconds(now_ns)
        if left <= 0:
            self._endings.kill(worker, Why.SILENT, span.key(progress.position))
        return max(LEAST_LOOK_SECONDS, left)

    def _wanted_elsewhere(self, share: int) -> bool:
        """Whether others could start what waits behind a slow run of a session, or something else should."""
        intake = self._intake
        return self._workforce.idle() or intake.queue.has_others(share) or intake.stranded() > 0


def _same_run(before: Progress | None, now: Progress) -> bool:
    # Chunk, position and start; the count of log records may have changed.
    return before is not None and before[:3] == now[:3]
