"""How long the database has been at what it was asked last.

A database that refuses says so. One that hangs (a server that is stopped, a disk that does not come back)
says nothing, and the thread that waits for it cannot either. So whoever asks notes the time here, and others
look: the owner's timer, which has the log say so, and the thread of the probes, which reads it even while the
event loop itself waits for a small commit.
"""

import logging
from typing import Final

from taskyard_contract.clock import Clock

OVERDUE_SECONDS: Final = 5.0
"""An answer that takes longer is news: commits take milliseconds, the largest checkpoint a second or two."""
REMIND_SECONDS: Final = 60.0
"""How often the log says that it still has not come."""

log = logging.getLogger(__name__)


class Response:
    """Times the one use of the store that is under way."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is under way."""
        self._clock = clock
        self._since: float | None = None
        self._told_at: float | None = None

    def awaited(self) -> float:
        """Note that the database was asked for something; returns the time."""
        self._since = now = self._clock.monotonic()
        return now

    def came(self) -> float:
        """Note that it answered, with whatever; returns the time."""
        now = self._clock.monotonic()
        if self._told_at is not None and self._since is not None:
            seconds = now - self._since
            log.warning(
                "the database answers again, after %.0f s", seconds, extra={"event": "storage_answers"}
            )
        self._since = self._told_at = None
        return now

    def clock_was_set(self, seconds: float) -> None:
        """Take it that the clock was set forward, and what is under way has not taken that long."""
        if self._since is not None:
            self._since += seconds

    @property
    def overdue(self) -> bool:
        """Whether the answer has been awaited for too long."""
        since = self._since  # once: another thread may be asking
        return since is not None and self._clock.monotonic() - since >= OVERDUE_SECONDS

    def look(self) -> None:
        """Have the log say that the answer is overdue, and say it again now and then."""
        since = self._since
        if since is None or not self.overdue:
            return
        now = self._clock.monotonic()
        if self._told_at is None or now - self._told_at >= REMIND_SECONDS:
            self._told_at = now
            log.error(
                "the database has not answered for %.0f s; nothing is acknowledged meanwhile",
                now - since,
                extra={"event": "storage_hangs"},
            )
