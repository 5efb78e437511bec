"""What an attempt tells of its progress: a few words a second, and the last one before it ends."""

import threading
import time
from collections.abc import Callable
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb

PROGRESS_SECONDS: Final = 0.25
"""Between two words of progress of a run."""


class Telling:
    """Takes words of progress from any thread."""

    def __init__(self, tell: Callable[[pb.RunProgress], None]) -> None:
        """Hand them to `tell`, not all of them."""
        self._tell = tell
        self._lock = threading.Lock()
        self._latest: pb.RunProgress | None = None
        self._told_at = 0.0

    def say(self, progress: pb.RunProgress) -> None:
        """Take a word; it is told now, or it waits for the next one."""
        with self._lock:
            self._latest = progress
            if time.monotonic() - self._told_at >= PROGRESS_SECONDS:
                self._tell_latest()

    def say_last(self) -> None:
        """Tell what still waits."""
        with self._lock:
            self._tell_latest()

    def _tell_latest(self) -> None:
        progress, self._latest = self._latest, None
        if progress is not None:
            self._told_at = time.monotonic()
            self._tell(progress)
