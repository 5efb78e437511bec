"""Report frames that the control plane has not acknowledged. Pure.

Invariant: a frame leaves the outbox only when its number is acknowledged, and numbers are never reused, so
resending after a reconnect can neither lose nor double a report.
"""

from collections import deque
from collections.abc import Iterator

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.ids import ID_BYTES


class Outbox:
    """Numbered frames in the order they were sent."""

    def __init__(self) -> None:
        """Nothing waits; the first frame gets the number 1, because 0 acknowledges nothing."""
        self._last = 0
        self._frames: deque[pb.AgentFrame] = deque()

    def __len__(self) -> int:
        """Return how many frames wait for their acknowledgement."""
        return len(self._frames)

    def add(self, frame: pb.AgentFrame) -> None:
        """Number a frame and keep it."""
        self._last += 1
        frame.report_number = self._last
        self._frames.append(frame)

    def acknowledge(self, up_to: int) -> bool:
        """Forget the frames up to a number; returns whether there were any."""
        frames, before = self._frames, len(self._frames)
        while frames and frames[0].report_number <= up_to:
            frames.popleft()
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
