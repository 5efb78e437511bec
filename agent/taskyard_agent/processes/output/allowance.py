"""How much a worker's runs may print, so that one that prints without end harms nobody. Pure.

Much at once is fine, and so is little all the time; of what goes beyond, lines are counted and not passed on.
The run itself is not slowed.
"""

from typing import Final

BURST_BYTES: Final = 16 * 1024 * 1024
"""What may come at once: some 200,000 lines."""
BYTES_PER_SECOND: Final = 4 * 1024 * 1024
"""What may come all the time."""


class OutputAllowance:
    """The bytes that one worker's runs may print now."""

    def __init__(self) -> None:
        """Begin with all that may come at once."""
        self._left = float(BURST_BYTES)
        self._since = 0.0
        self.dropped_lines = 0
        """Lines that were not passed on, since somebody took the count."""
        self.dropped_of = b""
        """The id of the run that wrote the first of them."""

    def take(self, data: bytes, now: float) -> bool:
        """Say whether what was printed may be passed on; counts its lines when it may not.

        `now` is monotonic, in seconds.
        """
        self._left = min(BURST_BYTES, self._left + (now - self._since) * BYTES_PER_SECOND)
        self._since = now
        if len(data) > self._left:
            self.dropped_lines += data.count(b"\n")
            return False
        self._left -= len(data)
        return True

    def told(self) -> int:
        """Take the count of the lines that were not passed on."""
        dropped, self.dropped_lines = self.dropped_lines, 0
        return dropped
