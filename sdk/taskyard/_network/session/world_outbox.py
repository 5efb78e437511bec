"""Worlds that the server has to know of: said once on each stream, not after the runs that name them."""

import threading
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb

MOST_KEPT: Final = 256
"""One more for each change of a variable; of what is older few runs are left."""


class WorldOutbox:
    """The worlds that a session has announced. Thread-safe."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._worlds: dict[tuple[bytes, int], pb.ProgramWorld] = {}
        self._unsaid: dict[tuple[bytes, int], pb.ProgramWorld] = {}

    @property
    def pending(self) -> bool:
        """Whether there is something to say."""
        return bool(self._unsaid)

    def add(self, world: pb.ProgramWorld) -> bool:
        """Have a world announced; returns whether that was not done, or otherwise, before."""
        key = (world.id, world.revision)
        with self._lock:
            if self._worlds.get(key) == world:
                return False
            self._worlds[key] = self._unsaid[key] = world
            if len(self._worlds) > MOST_KEPT:
                oldest = next(iter(self._worlds))
                del self._worlds[oldest]
                self._unsaid.pop(oldest, None)
            return True

    def on_new_stream(self) -> None:
        """Have all be said again."""
        with self._lock:
            self._unsaid = dict(self._worlds)

    def write_into(self, frame: pb.ClientFrame) -> None:
        """Say what is to be said."""
        with self._lock:
            frame.worlds.extend(self._unsaid.values())
            self._unsaid.clear()
