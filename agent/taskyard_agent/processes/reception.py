"""What workers say: reports, log records, that they wait, that they give runs back, that they are gone.

Reports go out as they came, unopened: per chunk there is only counting and slicing.
"""

import logging
from itertools import count
from typing import Final

from taskyard_agent.holding.blob_transfers import BlobTransfers
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.intake import Intake
from taskyard_agent.holding.room import Room
from taskyard_agent.processes import lane_endings
from taskyard_agent.processes.dispatcher import Dispatcher
from taskyard_agent.processes.endings import Endings
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.output_relay import OutputRelay, pieces_of
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract.ids import ID_BYTES, split_ids
from taskyard_contract.states import StateReason

logger = logging.getLogger(__name__)

_MICROSECONDS: Final = 1e6  # in a second: reports count in the former, windows in the latter


class Reception:
    """Takes what workers say; the `WorkerEvents` of a workforce."""

    def __init__(
        self,
        workforce: Workforce,
        holdings: Holdings,
        intake: Intake,
        transfers: BlobTransfers,
        room: Room,
        endings: Endings,
        dispatcher: Dispatcher,
    ) -> None:
        """Settle with `holdings` what workers say."""
        self._workforce = workforce
        self._holdings = holdings
        self._intake = intake
        self._transfers = transfers
        self._room = room
        self._endings = endings
        self._dispatcher = dispatcher
        self._output = OutputRelay(holdings)
        self._waits = count(1)

    def on_frame(self, worker: WorkerHandle, kind: int, body: bytes) -> None:
        """Act on a frame of a worker, in the order in which it was sent."""
        if kind == frames.REPORT:
            self._on_report(worker, body)
        elif kind == frames.LOGS:
            self._holdings.session.log(session_service_pb2.LogBatch.FromString(body))
        elif kind == frames.OUTPUT:
            self._output.pass_on(worker, pieces_of(session_service_pb2.OutputBatch.FromString(body)))
        elif kind == frames.PROGRESS:
            self._holdings.session.progress(pb.RunProgress.FromString(body))
        elif kind == frames.UNSTORED:
            self._on_unstored(worker, body)
        elif isinstance(worker, LaneHandle):
            self._on_lane_frame(worker, kind, body)
        else:
            self._on_blocked(worker, kind == frames.BLOCKED)

    def on_output(self, worker: WorkerHandle) -> None:
        """Pass on what has come through a worker's pipes."""
        pieces = worker.output.read()
        if pieces:  # with each report it is looked for, and most runs print nothing
            self._output.pass_on(worker, pieces)

    def _take_output(self, worker: WorkerHandle, number: int, start: int, stop: int) -> None:
        """Pass on what runs have printed that are about to be told as ended: it comes before their ends."""
        self.on_output(worker)
        span = worker.spans.get(number)
        if worker.is_lane and span is not None and worker.output.begun:
            ids = span.chunk.ids[start * ID_BYTES : stop * ID_BYTES]
            self._output.pass_on(worker, worker.output.end_those_of(split_ids(ids)))
        if worker.allowance.dropped_lines:
            self._output.tell_dropped(worker)

    def on_last_output(self, worker: WorkerHandle) -> None:
        """Pass on what a worker has left that has ended."""
        self._output.pass_on(worker, [*worker.shelved(), *worker.output.read_rest()])
        self._output.tell_dropped(worker)

    def _on_lane_frame(self, lane: LaneHandle, kind: int, body: bytes) -> None:
        if kind == frames.STOPPED:
            number, position = frames.STOPPED_BODY.unpack(body)
            self._take_output(lane, number, position, position + 1)
            _, confirm = lane.stopping.get((number, position), (0.0, True))
            one = lane.reported(number, position, position + 1)
            if one is not None:
                lane_endings.end_stopped(self._holdings, one, confirm)
        elif kind == frames.AWAITING:
            (lane.awaiting,) = frames.AWAITING_BODY.unpack(body)
            self._holdings.session.wake()
        else:
            lane.kept = kind == frames.BLOCKED and bool(lane.spans)
            if lane.kept:
                number, _ = frames.STOPPED_BODY.unpack(body)
                if number in lane.spans:
                    lane.spans[number].chunk.template.alone = True  # others of its task are better off apart
                lane.revoke_all()  # what it has not begun may be what its code waits for

    def _on_report(self, worker: WorkerHandle, body: bytes) -> None:
        number, start, runs, busy_us, blobs = frames.REPORT_HEAD.unpack_from(body)
        self._take_output(worker, number, start, start + runs)
        span = worker.reported(number, start, start + runs)
        if span is None:
            logger.error("worker %d reported runs of chunk %d, which it does not have", worker.pid, number)
            return
        if worker.blocked:
            self._unblock_empty(worker)
        if not worker.is_lane:  # what runs there for long takes nobody's room, and nobody's turn
            seconds = busy_us / _MICROSECONDS
            self._intake.sizer.ended(runs, seconds)
            if runs:
                span.chunk.template.took(runs, seconds)
        tail = body[frames.REPORT_HEAD.size :]
        if blobs:
            self._transfers.upload(span, tail, blobs)
        else:
            self._holdings.report(span, tail)

    def _on_unstored(self, worker: WorkerHandle, body: bytes) -> None:
        """Have a run executed again whose result this machine's disk did not take."""
        number, position, size = frames.UNSTORED_HEAD.unpack_from(body)
        reason = body[frames.UNSTORED_HEAD.size :].decode()
        span = worker.reported(number, position, position + 1)
        if span is None:
            logger.error("worker %d reported runs of chunk %d, which it does not have", worker.pid, number)
            return
        if worker.blocked:
            self._unblock_empty(worker)
        self._holdings.lose(
            span,
            StateReason.AGENT_DISK_FULL,
            f"the agent had no room for its result of {size:,} bytes: {reason}; make room on its machine, "
            "or write the result to storage of your own and return a reference to it",
        )
        self._room.lacked(size, reason)

    def _unblock_empty(self, worker: WorkerHandle) -> None:
        if not worker.spans:
            self._on_blocked(worker, False)  # a thread waits, which its run has left behind

    def _on_blocked(self, worker: WorkerHandle, blocked: bool) -> None:
        worker.blocked = blocked and bool(worker.spans)
        if worker.blocked:
            self._note_wait(worker)
            worker.revoke_all()  # what waits behind this run may be what the run waits for
        self._intake.weigh()
        self._workforce.fit()

    def _note_wait(self, worker: WorkerHandle) -> None:
        """Number the runs that wait; one that goes on and waits for the next of its runs keeps its number."""
        executing = worker.executing()
        run = (executing[0], executing[2].position) if executing is not None else None
        if run is None or run != worker.waiting_run:
            worker.waiting_run, worker.waits_since = run, next(self._waits)

    def on_revoked(self, worker: WorkerHandle, number: int, first: int) -> None:
        """Take back the tail of a span."""
        tail = worker.took_back(number, first)
        if tail is not None:
            if worker.blocked:
                self._unblock_empty(worker)
            self._dispatcher.requeue(self._holdings.sift(tail))

    def on_exit(self, worker: WorkerHandle, status: int | None) -> None:
        """Settle what a worker had that has ended; its last frames have been taken."""
        rest = self._endings.settle(worker, status)
        self._intake.weigh()  # its run may have been waiting for others
        self._dispatcher.requeue(rest)

    def dispatch(self) -> None:
        """Give out runs: workers may have become available."""
        self._dispatcher.dispatch()
