"""How many uploads there are at a time, and how many of them write.

Together with those who wait for runs they share two things: processors and the disk. So two are written at
once, piece by piece: a caller with a slow network keeps nobody from writing while it sends. Of large ones it
is one, because they pause while others commit: two would have twice the disk's time, and small ones would
wait for their pauses. Some more are open; whoever comes then waits before his first byte, for a while.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskyard_contract.blobs.directory import RESERVED_BYTES
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
        self._small = threading.BoundedSemaphore(WRITTEN)
        self._large = threading.BoundedSemaphore(1)

    def writing(self, size: int) -> threading.BoundedSemaphore:
        """Return what is to be held while a piece of an upload of a size is written, not while it comes."""
        return self._large if size >= RESERVED_BYTES else self._small

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
