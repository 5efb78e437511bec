"""Time as an argument: everything that needs a clock is handed one, so that tests can turn it."""

import time
from datetime import UTC, datetime, timedelta
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
        return wall_us()

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()


class _Forward:
    us = 0
    """By how much the wall clock of this process was set forward."""


def wall_us() -> int:
    """Return the wall clock of this process in microseconds since the Unix epoch."""
    return time.time_ns() // 1000 + _Forward.us


def wall_time() -> datetime:
    """Return the wall clock of this process as a date and time, in UTC."""
    return datetime.now(UTC) + timedelta(microseconds=_Forward.us)


def set_wall_clock_forward(seconds: float) -> None:
    """Have it be later for this process by so many seconds: for tests of what takes days."""
    _Forward.us += round(seconds * 1_000_000)
