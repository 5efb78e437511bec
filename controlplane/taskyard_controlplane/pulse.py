"""Whether the event loop turns.

The loop notes the time twice a second; anybody on another thread can see how long ago that was. Invariant:
reading never waits for the loop.
"""

import asyncio
from typing import Final

from taskyard_contract.clock import Clock

BEAT_SECONDS: Final = 0.5
"""Often enough for a lag of seconds to be seen, seldom enough to cost nothing."""


class Pulse:
    """The beat of one event loop."""

    def __init__(self, clock: Clock, max_lag_seconds: float) -> None:
        """Call the loop stuck after `max_lag_seconds` without a beat."""
        self._clock = clock
        self._max_lag = max_lag_seconds
        self._last = clock.monotonic()
        self.lag_seconds = 0.0

    async def run(self) -> None:
        """Note the time twice a second, as long as the loop turns and nobody cancels this."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    def beat(self) -> None:
        """Note that the loop turns, and how late it came."""
        now = self._clock.monotonic()
        self.lag_seconds = max(0.0, now - self._last - BEAT_SECONDS)
        self._last = now

    def why_unhealthy(self) -> str:
        """Return what is wrong, the empty string for nothing."""
        silence = self._clock.monotonic() - self._last
        return f"the event loop has not turned for {silence:.0f} s" if silence > self._max_lag else ""
