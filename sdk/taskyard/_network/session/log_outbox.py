"""Log records of a session, from the threads that write them until the server has them for good.

They are sent in numbered batches, each kept until it is acknowledged and sent again on a new stream; the
server knows the numbers, so nothing is recorded twice. Bounded at both ends: no more than a window is
unacknowledged, and of what waits behind it the oldest records are dropped, and counted.

Many threads append, the loop's thread does everything else. No lock: a child that was forked while another
thread held one could never log again.
"""

from collections import deque
from typing import Final

from taskyard._network.session.outbox import BYTES_PER_FRAME
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import log_entry
from taskyard_contract.log_entry import LogEntry

LOGS_PER_FRAME: Final = 1000
"""Enough for programs that log much; results should not wait behind a frame of many more."""
MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
"""What waits to be sent; beyond, the oldest records are dropped."""
MOST_UNACKNOWLEDGED_BYTES: Final = 16 * 1024 * 1024
"""What has been sent and is not durable; beyond, nothing more is sent."""
_OVERHEAD: Final = 200
"""Bytes of a record beside its message, in memory."""


class LogOutbox:
    """Records that wait, and batches that are not acknowledged."""

    def __init__(self) -> None:
        """Nothing waits; the first batch gets the number 1."""
        self.dropped = 0
        """Records that were dropped since somebody last looked and set this to 0."""
        self._waiting: deque[LogEntry] = deque()
        self._waiting_bytes = 0
        self._acknowledged = False
        """Whether the server says what is durable; an older one does not, and nothing is kept for it."""
        self._number = 0
        self._sent: deque[tuple[int, pb.LogBatch, int]] = deque()
        self._sent_bytes = 0
        self._again: deque[tuple[int, pb.LogBatch, int]] = deque()

    @property
    def pending(self) -> bool:
        """Whether there is a batch to send now."""
        return bool(self._again) or bool(self._waiting and self._sent_bytes < MOST_UNACKNOWLEDGED_BYTES)

    @property
    def crowded(self) -> bool:
        """Whether more can be sent now than one frame takes."""
        if self._again:
            return len(self._again) > 1 or bool(self._waiting)
        return len(self._waiting) > LOGS_PER_FRAME and self.pending

    def add(self, entry: LogEntry) -> None:
        """Queue a record. Any thread may call it."""
        waiting = self._waiting
        waiting.append(entry)
        self._waiting_bytes += _size(entry)
        while self._waiting_bytes > MOST_WAITING_BYTES:
            try:
                oldest = waiting.popleft()
            except IndexError:
                self._waiting_bytes = 0  # threads that count at once may lose count; here it is known
                return
            self._waiting_bytes -= _size(oldest)
            self.dropped += 1

    def on_new_stream(self, acknowledges: bool) -> None:
        """Send again what was not acknowledged, if the server does that at all."""
        self._acknowledged = acknowledges
        if not acknowledges:
            self._sent.clear()
            self._sent_bytes = 0
        self._again = self._sent.copy()

    def acknowledge(self, up_to: int) -> None:
        """Forget batches up to a number."""
        for batches in (self._sent, self._again):
            while batches and batches[0][0] <= up_to:
                size = batches.popleft()[2]
                if batches is self._sent:
                    self._sent_bytes -= size

    def write_into(self, frame: pb.ClientFrame) -> None:
        """Add the next batch to a frame. Call when there is one (`pending`)."""
        if self._again:
            frame.logs_number, batch, _ = self._again.popleft()
            frame.logs.CopyFrom(batch)
            return
        batch, size = self._next_batch()
        frame.logs.CopyFrom(batch)
        if self._acknowledged:
            self._number += 1
            frame.logs_number = self._number
            self._sent.append((self._number, batch, size))
            self._sent_bytes += size

    def _next_batch(self) -> tuple[pb.LogBatch, int]:
        batch, waiting, size, text = pb.LogBatch(), self._waiting, 0, 0
        while len(batch.run_ids) < LOGS_PER_FRAME and text < BYTES_PER_FRAME:
            try:
                entry = waiting.popleft()
            except IndexError:
                self._waiting_bytes = 0
                break
            log_entry.add_to(batch, entry)
            size += _size(entry)
            text += 4 * len(entry[4])  # a character takes at most four bytes
            self._waiting_bytes -= _size(entry)
        return batch, size


def _size(entry: LogEntry) -> int:
    return len(entry[4]) + _OVERHEAD
