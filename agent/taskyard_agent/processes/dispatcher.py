"""From the queue to workers.

Idle workers come first. Only when all of them have something, and runs are so quick that a worker would wait
for its next chunk, each gets a second one: more would be runs that nobody else can have. What no worker can
have at the moment stays first: as workers get nothing else meanwhile, one becomes free for it.
"""

from itertools import count

from taskyard_agent.holding.blob_transfers import BlobTransfers
from taskyard_agent.holding.chunks import Span
from taskyard_agent.holding.intake import Intake
from taskyard_agent.processes.lane_watch import LaneWatch
from taskyard_agent.processes.lanes import Lanes
from taskyard_agent.processes.staff import Staff
from taskyard_agent.processes.watchdog import Watchdog
from taskyard_agent.processes.workforce import Workforce


class Dispatcher:
    """Gives queued runs to workers that can take some."""

    def __init__(
        self, intake: Intake, workforce: Workforce, transfers: BlobTransfers, watchdog: Watchdog
    ) -> None:
        """Give runs of `intake` to `workforce`."""
        self._intake = intake
        self._staff = Staff(workforce)
        self._transfers = transfers
        self._watchdog = watchdog
        self._numbers = count(1)  # 0 means "everything" on the control socket
        self.lanes: Lanes
        self.lane_watch: LaneWatch
        self._doubtful = False

    def doubt(self, doubtful: bool) -> None:
        """Start nothing while the lease is in doubt."""
        if doubtful is not self._doubtful:
            self._doubtful = doubtful
            self.dispatch()

    def requeue(self, spans: list[Span]) -> None:
        """Take in runs that have not started after all."""
        self._intake.put_back([span for span in spans if not span.chunk.in_lane])
        if in_lanes := [span for span in spans if span.chunk.in_lane]:
            self.lanes.put_back(in_lanes)
        self.dispatch()

    def take_number(self) -> int:
        """Return a number for a span that is given to a worker."""
        return next(self._numbers)

    def dispatch(self) -> None:
        """Give out what can be given out."""
        if self._doubtful:
            return
        if self._intake.queue.runs:
            self._give_out()
        if self.lanes.is_used:
            for lane in self.lanes.dispatch():
                self._staff.given(lane)
            self.lane_watch.arm()
        self._watchdog.arm()

    def _give_out(self) -> None:
        for depth in (0, 1) if self._intake.pipelined else (0,):
            while self._intake.queue.runs and self._staff.has_any(depth):
                if not self._give(depth):
                    break

    def _give(self, depth: int) -> bool:
        """Give the next runs to a worker; returns whether others could be given."""
        span = self._intake.next()
        if span is None:
            return False
        chunk = span.chunk
        if (chunk.blobs or chunk.template.bundle) and not self._transfers.present(span):
            self._transfers.fetch(span)  # removed meanwhile, to make room
            return True
        quick = not depth or self._intake.is_quick(span)
        worker = self._staff.worker_for(chunk.template.world, depth) if quick else None
        if worker is None:
            self._intake.queue.put_back([span])
            return False
        worker.give(next(self._numbers), span)
        self._intake.gave(span)
        self._staff.given(worker)
        return True
