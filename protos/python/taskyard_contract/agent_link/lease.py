"""The lease over what an agent holds, as the agent times it. Pure: time is an argument.

Invariant: the agent's lease ends before the server's, because it is counted from when an answered heartbeat
was sent, and the server counts from when it arrived.
"""

from typing import Final

DOUBT: Final = 0.8
"""Fraction of the lease without an answer after which nothing new is started."""


class Lease:
    """How long what the agent holds is its own, told from heartbeats sent and answered."""

    def __init__(self) -> None:
        """Start without a lease: nothing is held before the first Welcome."""
        self.seconds = 0.0
        self.interval = 5.0
        self._renewed: float | None = None
        self._number = 0
        self._sent: dict[int, float] = {}

    def grant(self, seconds: float, interval: float, sent_at: float) -> None:
        """Take the terms of a Welcome that answers a hello sent at `sent_at`."""
        self.seconds, self.interval = seconds, interval
        self._sent.clear()
        self._renewed = sent_at

    def beat(self, now: float) -> int:
        """Return the number of a heartbeat sent now."""
        self._number += 1
        self._sent[self._number] = now
        return self._number

    def answered(self, number: int) -> None:
        """Take in the answer to a heartbeat."""
        sent = self._sent.get(number)
        if sent is None:
            return
        self._renewed = sent if self._renewed is None else max(self._renewed, sent)
        self._sent = {other: at for other, at in self._sent.items() if other > number}

    def silence(self, now: float) -> float:
        """Return for how long no heartbeat has been answered; 0 without a lease."""
        return 0.0 if self._renewed is None else now - self._renewed

    def certain(self, now: float) -> bool:
        """Whether there is a lease, and no doubt about it: without one nothing may start either."""
        return self._renewed is not None and not self.doubtful(now)

    def doubtful(self, now: float) -> bool:
        """Whether the lease may lapse soon, so that nothing new should start."""
        return self._renewed is not None and self.silence(now) >= DOUBT * self.seconds

    def lapsed(self, now: float) -> bool:
        """Whether the lease has lapsed: the server may have given the runs to others."""
        return self._renewed is not None and self.silence(now) >= self.seconds

    def end(self) -> None:
        """Forget a lapsed lease until the next Welcome."""
        self._renewed = None
        self._sent.clear()
