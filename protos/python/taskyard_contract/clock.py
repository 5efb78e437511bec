"""Time as an argument: everything that needs a clock is handed one, so that tests can turn it."""

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks of a program."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since the Unix epoch. For people and records."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump. For leases, timers and timeouts."""
        ...


class SystemClock:
    """The real clocks, for programs; tests hand in one that they turn."""

    def now_us(self) -> int:
        """Return the wall clock in microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()
