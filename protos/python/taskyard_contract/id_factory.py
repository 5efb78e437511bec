"""Makes ids: UUID version 7, strictly increasing within a process.

A counter in the field after the timestamp keeps ids of one millisecond in order, so that the unique
index on them always grows at its right edge; 46 random bits per process keep processes apart; the
last 16 bits are the logical shard. Making one costs a fifth of a random UUID, and runs are made by
the hundred thousand.
"""

import os
import threading
import time
from collections.abc import Callable


class IdFactory:
    """Makes ids for one shard. Thread-safe."""

    def __init__(
        self,
        shard: int = 0,
        now_ns: Callable[[], int] = time.time_ns,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Make ids whose last two bytes say `shard`.

        Args:
            shard: Its number.
            now_ns: The wall clock, in nanoseconds since the Unix epoch.
            random_bytes: Draws so many random bytes.
        """
        self._shard = shard
        self._now_ns = now_ns
        self._random_bytes = random_bytes
        self._last = 0
        self._tail = 0
        self.reset()

    def reset(self) -> None:
        """Draw new random bits. A forked child must call this, or it repeats its parent's ids."""
        self._lock = threading.Lock()  # a thread that is not in the child may hold the former one
        random = int.from_bytes(self._random_bytes(6)) & ((1 << 46) - 1)
        self._tail = (0b10 << 62) | (random << 16) | self._shard
        self._last = 0

    def new(self) -> bytes:
        return self.many(1)[0]

    def many(self, count: int) -> list[bytes]:
        """Return `count` new ids in increasing order."""
        now = (self._now_ns() // 1_000_000) << 12
        with self._lock:
            # The lower 12 bits count within the millisecond; when they overflow, the id's clock runs
            # ahead of the real one until that catches up.
            first = max(now, self._last + 1)
            self._last = first + count - 1
        tail = self._tail.to_bytes(8)
        return [
            ((tick >> 12) << 16 | 0x7000 | (tick & 0xFFF)).to_bytes(8) + tail
            for tick in range(first, first + count)
        ]


_factory = IdFactory()
os.register_at_fork(after_in_child=_factory.reset)

new_id = _factory.new
new_ids = _factory.many
