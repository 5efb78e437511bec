"""How many uploads there are at a time, and how many of them write.

Together with those who wait for runs they share two things: processors and the disk. So two are written at
once, piece by piece: a caller with a slow network keeps nobody from writing while it sends. Some more are
open; whoever comes then waits before his first byte, for a while.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskyard_contract.errors import Overloaded

OPEN: Final = 16
"""At a time: each has a file, and the room that it reserved."""
WRITTEN: Final = 2
WAIT_SECONDS: Final = 10.0
"""For one of the places. Less than what clients wait for a connection that does not move."""
RETRY_SECONDS: Final = 1.0


class Uploads:
    """The places of uploads."""

    def __init__(self, places: int = OPEN, wait_seconds: float = WAIT_SECONDS) -> None:
        """Have so many places, and let others wait for so long."""
        self._places = threading.BoundedSemaphore(places)
        self._wait_seconds = wait_seconds
        self.writing = threading.BoundedSemaphore(WRITTEN)
        """To be held while a piece is written, not while it is waited for."""

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a place, and hold it.

        Raises:
            Overloaded: Others have them all.
        """
        if not self._places.acquire(timeout=self._wait_seconds):
            raise Overloaded("there are too many uploads at a time; repeat it", retry_after=RETRY_SECONDS)
        try:
            yield
        finally:
            self._places.release()
