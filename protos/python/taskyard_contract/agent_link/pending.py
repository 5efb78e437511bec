"""What the executor has told and no frame has taken yet. Pure.

Log records are kept like reports, in numbered frames, but not for ever: while nobody takes them they are
bounded in bytes.

Order matters in two places. Reports come after what their runs logged and printed, because a client may end
when it has the result and would not see the rest. And what ended goes out before anything else is said, in a
frame of its own number.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2, states_pb2
from taskyard_contract.wire_text import cut

MAX_LOG_BYTES: Final = 4 * 1024 * 1024
"""Log records of one frame: a quarter of the transport's limit. Only one larger batch alone exceeds it."""
MOST_PENDING_LOG_BYTES: Final = 32 * 1024 * 1024
"""Log records that wait for a stream; beyond, the oldest are dropped."""
MAX_OUTPUT_BYTES: Final = 1024 * 1024
"""What runs have printed, of one frame. Only one larger batch alone exceeds it."""
MOST_PENDING_OUTPUT_BYTES: Final = 16 * 1024 * 1024
"""Output that waits for a stream; beyond, the oldest is dropped."""
MAX_REPORT_BYTES: Final = 1024 * 1024
"""Reports of one frame are cut here; frames must stay far below the transport's limit."""
MAX_PROGRESS_BYTES: Final = 1024 * 1024
"""And so are words of progress, of which many come together while there is no stream."""


class Pending:
    """The executor's face of a link: runs that ended, or were not begun, and what they logged."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = _nobody
        """Called after each word; the stream that is open sets it."""
        self._reports: list[pb.ReportChunk] = []
        self._started: list[pb.StartedRun] = []
        self._given_back: list[pb.RunKey] = []
        self._lost: list[pb.LostRun] = []
        self._cancelled: list[pb.RunKey] = []
        self._progress: dict[bytes, pb.RunProgress] = {}
        self._logs: deque[session_service_pb2.LogBatch] = deque()
        self._log_bytes = 0
        self.dropped_logs = 0
        """Log records that were given up since somebody last looked and set this to 0."""
        self._output: deque[tuple[session_service_pb2.OutputBatch, int]] = deque()
        """With their sizes."""
        self._output_bytes = 0
        self.dropped_output = 0
        """Bytes of output that were given up since somebody last looked and set this to 0."""

    def report(self, first_epoch: int, run_ids: bytes, columns: bytes) -> None:
        """Report consecutive runs that ended; `columns` is a serialised ReportColumns."""
        self._reports.append(pb.ReportChunk(first_epoch=first_epoch, run_ids=run_ids, columns=columns))
        self.wake()

    def started(self, key: pb.RunKey, running: float) -> None:
        """Say that a run has been executing for so many seconds."""
        self._started.append(pb.StartedRun(key=key, running_ms=round(running * 1000)))
        self.wake()

    def progress(self, progress: pb.RunProgress) -> None:
        """Tell how far a run is; of a run that tells more before a frame goes out, the newest counts."""
        self._progress[progress.key.run_id] = progress
        self.wake()

    def give_back(self, keys: Iterable[pb.RunKey]) -> None:
        """Give back runs that were not started here, for others to start."""
        self._given_back.extend(keys)
        self.wake()

    def lost(self, key: pb.RunKey, reason: int, message: str) -> None:
        """Say that a run was lost, and why (a `StateReason`)."""
        self._lost.append(
            pb.LostRun(key=key, reason=states_pb2.StateReason.ValueType(reason), message=cut(message))
        )
        self.wake()

    def cancelled(self, key: pb.RunKey) -> None:
        """Confirm that nothing executes a run that was to be cancelled."""
        self._cancelled.append(key)
        self.wake()

    def log(self, batch: session_service_pb2.LogBatch) -> None:
        """Send log records, not later than the reports told afterwards."""
        self._logs.append(batch)
        self._log_bytes += batch.ByteSize()
        while self._log_bytes > MOST_PENDING_LOG_BYTES and len(self._logs) > 1:
            dropped = self._logs.popleft()
            self._log_bytes -= dropped.ByteSize()
            self.dropped_logs += len(dropped.run_ids)
        self.wake()

    def print(self, batch: session_service_pb2.OutputBatch) -> None:
        """Send what runs have printed, not later than the reports told afterwards."""
        size = batch.ByteSize()
        self._output.append((batch, size))
        self._output_bytes += size
        while self._output_bytes > MOST_PENDING_OUTPUT_BYTES and len(self._output) > 1:
            _, dropped = self._output.popleft()
            self._output_bytes -= dropped
            self.dropped_output += dropped
        self.wake()

    @property
    def _untold(self) -> bool:
        """Whether something must not be lost that no frame carries yet: runs that ended, what runs said."""
        ended = self._reports or self._given_back or self._lost or self._cancelled
        return bool(ended or self._logs or self._output)

    def _take_reports(self) -> pb.AgentFrame | None:
        if not self._untold:
            return None
        frame = pb.AgentFrame()
        self._move_logs(frame)
        self._move_output(frame)
        if self._logs or self._output:
            return frame  # reports come after what was said before them
        if self._given_back or self._lost or self._cancelled:
            frame.given_back.extend(self._given_back)
            frame.lost.extend(self._lost)
            frame.cancelled.extend(self._cancelled)
            self._given_back, self._lost, self._cancelled = [], [], []
        size = taken = 0
        for chunk in self._reports:
            if taken and size + len(chunk.columns) > MAX_REPORT_BYTES:
                break
            size += len(chunk.columns)
            taken += 1
        frame.reports.extend(self._reports[:taken])
        self._reports = self._reports[taken:]
        return frame

    def _take_progress(self) -> Iterator[pb.RunProgress]:
        """Take as many words of progress as a frame should have, those that were said first at first."""
        size = 0
        while self._progress and size < MAX_PROGRESS_BYTES:
            progress = self._progress.pop(next(iter(self._progress)))
            size += progress.ByteSize()
            yield progress

    def _move_logs(self, frame: pb.AgentFrame) -> None:
        """Add as many of the log records as a frame should have."""
        size = 0
        while self._logs and (not size or size + self._logs[0].ByteSize() <= MAX_LOG_BYTES):
            batch = self._logs.popleft()
            size += batch.ByteSize()
            self._log_bytes -= batch.ByteSize()
            frame.logs.MergeFrom(batch)

    def _move_output(self, frame: pb.AgentFrame) -> None:
        """Add as much of what was printed as a frame should have."""
        size = 0
        while self._output and (not size or size + self._output[0][1] <= MAX_OUTPUT_BYTES):
            batch, bytes_of_it = self._output.popleft()
            size += bytes_of_it
            self._output_bytes -= bytes_of_it
            frame.output.MergeFrom(batch)


def _nobody() -> None:
    """Wake nobody: no stream is open, and the next one begins by looking."""
