"""Frames with reports and log records that the control plane has not acknowledged. Pure.

Invariant: a frame leaves the outbox only when its number is acknowledged, and numbers are never reused, so
resending after a reconnect can neither lose nor double a report. Log records and output are the exception:
beyond a bound in bytes the oldest are not kept for another time.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.ids import ID_BYTES

MOST_LOG_BYTES: Final = 32 * 1024 * 1024
"""Log records, and output, kept until they are acknowledged."""


class Outbox:
    """Numbered frames in the order they were sent."""

    def __init__(self) -> None:
        """Nothing waits; the first frame gets the number 1, because 0 acknowledges nothing."""
        self._last = 0
        self._frames: deque[pb.AgentFrame] = deque()
        self._logs: deque[tuple[pb.AgentFrame, int]] = deque()
        """The frames that carry log records or output, and how many bytes of these."""
        self._log_bytes = 0
        self._bereft: deque[tuple[int, int]] = deque()
        """The numbers of frames whose log records are not kept any more, and how many these were."""

    def __len__(self) -> int:
        """Return how many frames wait for their acknowledgement."""
        return len(self._frames)

    def add(self, frame: pb.AgentFrame) -> None:
        """Number a frame and keep it."""
        self._last += 1
        frame.report_number = self._last
        self._frames.append(frame)
        if frame.HasField("logs") or frame.HasField("output"):
            self._keep_said(frame)

    def _keep_said(self, frame: pb.AgentFrame) -> None:
        size = frame.logs.ByteSize() + frame.output.ByteSize()
        self._logs.append((frame, size))
        self._log_bytes += size
        while self._log_bytes > MOST_LOG_BYTES and len(self._logs) > 1:
            oldest, size = self._logs.popleft()
            self._log_bytes -= size
            self._bereft.append((oldest.report_number, len(oldest.logs.run_ids)))
            oldest.ClearField("logs")
            oldest.ClearField("output")

    def lost_logs(self) -> int:
        """Return how many log records cannot be sent again, though they have to be; they are told of once."""
        lost = sum(count for _, count in self._bereft)
        self._bereft.clear()
        return lost

    def acknowledge(self, up_to: int) -> bool:
        """Forget the frames up to a number; returns whether there were any."""
        frames, before = self._frames, len(self._frames)
        while frames and frames[0].report_number <= up_to:
            frames.popleft()
        while self._logs and self._logs[0][0].report_number <= up_to:
            self._log_bytes -= self._logs.popleft()[1]
        while self._bereft and self._bereft[0][0] <= up_to:
            self._bereft.popleft()
        return len(frames) < before

    def unacknowledged(self) -> list[pb.AgentFrame]:
        """Return what must be sent again on a new stream, without what belonged to the old one."""
        for frame in self._frames:
            frame.ClearField("credit")
            frame.ClearField("heartbeat")
            frame.ClearField("started")
            frame.ClearField("draining")
            frame.ClearField("condition")
        return list(self._frames)

    def run_keys(self) -> Iterator[pb.RunKey]:
        """Name the runs whose outcome the control plane may not know yet."""
        for frame in self._frames:
            for chunk in frame.reports:
                yield from chunk_keys(chunk)
            yield from frame.given_back
            yield from frame.cancelled
            for lost in frame.lost:
                yield lost.key


def chunk_keys(chunk: pb.ReportChunk) -> Iterator[pb.RunKey]:
    """Name the runs of a report."""
    ids = chunk.run_ids
    for position in range(len(ids) // ID_BYTES):
        start = position * ID_BYTES
        yield pb.RunKey(run_id=ids[start : start + ID_BYTES], epoch=chunk.first_epoch + position)
