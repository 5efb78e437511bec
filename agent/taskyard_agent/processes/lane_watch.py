"""The watchdog of lanes: looks at their boards while they have runs.

What it finds: loops that do not go round (new runs go elsewhere, and the lane says what keeps it), runs that
have not ended a grace after their time was up or after they were told to end (their process is ended on their
account, and the others in it are repeated), and runs that have begun, which the server hears of.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from taskyard_agent.holding.chunks import Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.processes.endings import Endings
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.lanes import Lanes
from taskyard_agent.processes.terminating import Why
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner.lane_board import LiveRun

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05
"""Between two looks; what has to be exact is timed by the lane itself."""
MANY_LIVE: Final = 1000
"""Runs, for each multiple of which a look comes later: it costs a microsecond a run."""
LATE_SECONDS: Final = 0.25
"""A loop that has not gone round for so long gets nothing new."""
KEPT_SECONDS: Final = 1.0
"""And when it has not for so long, what keeps it is named."""
GRACE_SECONDS: Final = 1.0
"""After its time was up a coroutine may clean up for so long; then its process is ended."""
STARTED_SECONDS: Final = 0.1
"""A run that has taken so long is reported as started; of quicker ones the end is news enough."""


class LaneWatch:
    """Watches the lanes of a pool."""

    def __init__(
        self,
        lanes: Lanes,
        workforce: Workforce,
        endings: Endings,
        holdings: Holdings,
        clock_ns: Callable[[], int],
    ) -> None:
        """Judge what the boards of `lanes` show, once `arm` has been called; they note `clock_ns`."""
        self._lanes = lanes
        self._workforce = workforce
        self._endings = endings
        self._holdings = holdings
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Look again soon, if any lane has runs."""
        if self._timer is None and any(lane.count for lane in self._lanes):
            self._timer = self._loop.call_later(LOOK_SECONDS, self._tick)

    def stop(self) -> None:
        """Let go of the timer: the boards are about to be closed."""
        if self._timer is not None:
            self._timer.cancel()

    def restate(self) -> None:
        """Report again what has started: the server may not know it any more."""
        for lane in self._lanes:
            lane.started.clear()

    def _tick(self) -> None:
        self._timer = None
        delay = self.look()
        if self._timer is None and any(lane.count for lane in self._lanes):
            self._timer = self._loop.call_later(delay, self._tick)

    def look(self) -> float:
        """Look once; returns after how many seconds to look again."""
        now_ns, looked = self._clock_ns(), 0
        again = False
        for lane in list(self._lanes):
            if lane.phase is not WorkerPhase.BUSY:
                continue
            was_late = lane.late
            live = lane.live()
            looked += len(live)
            self._judge_loop(lane, live, now_ns)
            again = again or lane.late is not was_late
            self._judge_runs(lane, live, now_ns)
        self._lanes.reconsider(self._loop.time())
        if again:
            self._workforce.dispatch()
        return LOOK_SECONDS * (1 + looked // MANY_LIVE)

    def _judge_loop(self, lane: LaneHandle, live: list[tuple[Span, LiveRun]], now_ns: int) -> None:
        seconds = lane.late_seconds(now_ns)
        lane.late = seconds > LATE_SECONDS
        if lane.late or lane.unsent_words:
            lane.poke()  # what has ended, and was logged, need not wait for the loop
        if seconds <= KEPT_SECONDS:
            lane.named = False
        elif not lane.named:
            lane.named = True
            lane.name_what_keeps_it()
            begun = {one.number for _, one in live}
            for number in [number for number in lane.spans if number not in begun]:
                lane.revoke(number)

    def _judge_runs(self, lane: LaneHandle, live: list[tuple[Span, LiveRun]], now_ns: int) -> None:
        now = self._loop.time()
        for key in list(lane.untold):
            lane.cancel(*key)
        for number, position in [key for key, (by, _) in lane.stopping.items() if now >= by]:
            if lane.is_open(number, position):
                _, confirm = lane.stopping[number, position]
                self._kill(lane, Why.CANCELLED if confirm else Why.DROPPED, lane.spans[number], position)
                return
        for span, one in live:
            seconds, template = one.seconds(now_ns), span.chunk.template
            if seconds > STARTED_SECONDS and one.begun and one[:2] not in lane.started:
                lane.started.add(one[:2])
                self._holdings.session.started(span.key(one.position), seconds)
            if template.timeout and seconds >= template.timeout + GRACE_SECONDS:
                self._kill(lane, Why.TIMED_OUT, span, one.position)
                return
            silence = template.heartbeat_timeout
            if silence and one.silent_seconds(now_ns) >= silence + GRACE_SECONDS:
                self._kill(lane, Why.SILENT, span, one.position)
                return

    def _kill(self, lane: LaneHandle, why: Why, span: Span, position: int) -> None:
        """End a lane on account of a run that does not end; others of its task get processes of their own."""
        template = span.chunk.template
        template.alone = True
        logger.warning(
            "worker %d: a run of '%s' does not end, its process is ended; %d other runs in it are repeated",
            lane.pid,
            template.definition.template.name,
            max(0, lane.count - 1),
        )
        self._endings.kill(lane, why, span.key(position))
