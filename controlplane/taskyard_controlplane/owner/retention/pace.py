"""How fast retention removes: in small steps beside the traffic, in larger and closer ones the further it is
behind.

Whatever the traffic is, what comes in must not outrun what goes for ever, or the database grows without a
bound. So whoever removes says how far behind it is, in a measure of its own, and the faster it goes the less
it is. Others always keep the larger part of the writer, unless somebody waits for what is removed.
"""

import asyncio
from typing import Final

SHARE: Final = 9.0
"""How many times as long as a step took others have the writer."""
LEAST_SHARE: Final = 2.0
"""The same when it is far behind."""
PRUNING_SHARE: Final = 1.0
"""The same while somebody waits for it."""
MOST_PAUSE: Final = 1.0
STEP: Final = 100
"""Runs of one transaction: some 3 ms with their events, logs and references, most of it the sync."""
LARGE_STEP: Final = 500
"""The same when it is behind: 500 runs take two or three times as long as 100."""


class Pace:
    """Of all that retention does."""

    def __init__(self) -> None:
        """Be behind with nothing."""
        self.is_awaited = False
        """Whether somebody waits for what is removed."""
        self._behind = 0.0

    def behind(self, part: float) -> None:
        """Note how far behind it is: not at all at 0, as far as may be at 1."""
        self._behind = max(0.0, part)

    @property
    def share(self) -> float:
        """How many times as long as a step took others have the writer."""
        if self.is_awaited:
            return PRUNING_SHARE
        return max(LEAST_SHARE, SHARE / (1.0 + self._behind))

    @property
    def step(self) -> int:
        """How many runs one transaction looks at."""
        return LARGE_STEP if self._behind >= 1.0 and not self.is_awaited else STEP

    async def pause(self, took: float) -> None:
        """Let others have the writer after a step that took some seconds."""
        await asyncio.sleep(min(took * self.share, MOST_PAUSE))
