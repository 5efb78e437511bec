"""The numbers of log records: the time at which each came, and greater than all before it."""

from taskyard_contract.clock import Clock


class LogNumbers:
    """Hands out numbers."""

    def __init__(self, clock: Clock) -> None:
        """Begin at the time of `clock`."""
        self._now_us = clock.now_us
        self.last = 0
        """The greatest number so far."""

    def go_on_after(self, number: int) -> None:
        """Hand out no number up to one that was handed out before."""
        self.last = max(self.last, number)

    def next(self) -> int:
        """Return a number for a record that comes now."""
        now, following = self._now_us(), self.last + 1
        self.last = number = now if now > following else following
        return number
