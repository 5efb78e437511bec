"""Lets bytes in so that whoever waits for runs hardly notices.

What is uploaded shares the event loop, the interpreter, the cores and perhaps the disk with everything else
here. So of large uploads one piece is taken in at a time, of all of them in turn, and while others are served
there is a pause after each, some times as long as the piece took. While nobody is, they have all there is.

Invariant: an upload that waits for its turn holds no more than the piece that it came with.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

PAUSES: Final = 4.0
"""How long a pause is, as a multiple of what the piece before it took: uploads have a fifth of the time."""
LONGEST_PAUSE: Final = 0.25
"""In seconds: a disk that was slow once must not hold up everybody behind."""
BUSY_SECONDS: Final = 0.05
"""So long after others were served they are expected to be; for one who comes now and then uploads need not
crawl."""


class GivingWay:
    """The turns of uploads."""

    def __init__(self, served: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """Take in one piece at a time.

        Args:
            served: Returns a number that grows with what is done for others.
            clock: Returns seconds that never jump.
        """
        self._served = served
        self._clock = clock
        self._one = asyncio.Lock()
        self._seen = -1
        self._busy_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it."""
        async with self._one:
            began = self._clock()
            yield
            now = self._clock()
            if self._is_busy(now):
                await asyncio.sleep(min(PAUSES * (now - began), LONGEST_PAUSE))

    def _is_busy(self, now: float) -> bool:
        served = self._served()
        if served != self._seen:
            self._seen, self._busy_until = served, now + BUSY_SECONDS
        return now < self._busy_until
