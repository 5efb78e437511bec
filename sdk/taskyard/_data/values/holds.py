"""From when on this process holds futures: of older runs nobody can ask it for anything any more.

Each future has the stretch of time in which it was made, and a stretch is gone with the last future that has
it. So nothing is done when a future goes, and the oldest stretch that is left says which runs the control
plane has to keep.

Invariant: no future has a stretch that begins after the id of its run was made. Ids are made shortly before
futures are, so a stretch begins, as an id, where the one before it did.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Final
from weakref import ref

from taskyard_contract.id_factory import new_id

STRETCH_SECONDS: Final = 30.0
"""How exact this is; and the longest time in which the futures of one call may be made."""


class Stretch:
    """A time in which futures were made, for as long as there is one of them."""

    __slots__ = ("__weakref__", "first")

    def __init__(self, first: bytes) -> None:
        """Begin with an id: none of the runs has a smaller one."""
        self.first = first


class Holds:
    """The stretches of a process. Thread-safe."""

    def __init__(
        self, new_id: Callable[[], bytes] = new_id, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Hold nothing yet; `monotonic` is the time in seconds."""
        self._new_id = new_id
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began_with = new_id()
        self._began_at = monotonic()
        self.current = Stretch(self._began_with)
        """What a future takes that is made now."""
        self._left = [ref(self.current)]

    def oldest(self) -> bytes:
        """Return an id: no future is left of any run with a smaller one."""
        with self._lock:
            if self._monotonic() - self._began_at >= STRETCH_SECONDS:
                self._begin()
            left = [(each, stretch) for each in self._left if (stretch := each()) is not None]
            self._left = [each for each, _ in left]
            return left[0][1].first  # the current one at least

    def _begin(self) -> None:
        self.current = Stretch(self._began_with)
        self._began_with, self._began_at = self._new_id(), self._monotonic()
        self._left.append(ref(self.current))

    def after_fork(self) -> None:
        """Go on in a forked child, which has the futures of its parent, and perhaps its locked lock."""
        self._lock = threading.Lock()


HOLDS: Final = Holds()
"""Those of this process."""

os.register_at_fork(after_in_child=HOLDS.after_fork)
