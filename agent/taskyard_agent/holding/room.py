"""Whether the agent's disk takes what runs need and return.

A disk that is full, or failed, is the agent's trouble and not that of the run which met it first. From the
first write that fails the agent takes no runs: another one may have room, and here each would only be
executed in vain. What can be removed is removed; then somebody looks each second, and the agent goes on

- as soon as there is as much room as was lacking, or
- after a pause, if there is some room: what was lacking may be more than this disk ever has, and the runs
  that need less must not wait for it. The pause grows with each failure, so that not many are executed in
  vain while others fill the disk. It is short for what is larger than the whole disk: that has its few
  attempts and ends.

Invariant: one line in the log when it begins, one when it ends, and `condition` says why in between.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at a full disk; also the least time for others to take what was given back."""
FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 10.0
"""Of the pauses after which runs are tried with less room than was lacking, in seconds."""
LEAST_BYTES: Final = 1024 * 1024
LEAST_FRACTION: Final = 20
"""Less free space than this, or than one part in so many of the whole disk, is none."""
PROBE_BYTES: Final = 4096
"""A disk that failed has room and takes nothing, so a little is written before it is believed."""

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


def space_of(directory: Path) -> tuple[int, int]:
    """Return how many bytes are free where a directory is, and how many there are in all."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Room:
    """Watches the disk of one directory, from the first write that fails until writes succeed again."""

    def __init__(
        self,
        directory: Path,
        evict: Callable[[], None],
        *,
        space: Callable[[Path], tuple[int, int]] = space_of,
        later: Later | None = None,
    ) -> None:
        """Watch a directory.

        Args:
            directory: Where writes may fail.
            evict: Removes from it what nobody needs.
            space: Tells how much is free, and how much there is.
            later: Calls something after so many seconds; None for the running loop's.
        """
        self.condition = ""
        """Why the agent takes no runs, for people; empty while there is room."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each change of `condition`."""
        self._directory = directory
        self._evict = evict
        self._space = space
        self._later = later or asyncio.get_running_loop().call_later
        self._lacking = 0
        self._pause = 0.0
        self._waited = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def lacked(self, size: int, reason: str) -> None:
        """Take in that a write failed.

        Args:
            size: How many bytes were to be written; 0 when nobody knows.
            reason: What the disk said.
        """
        self._evict()
        self._lacking = max(self._lacking, size)
        if self.condition:
            return
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
        self._waited = 0.0
        self.condition = f"no room on the disk of {self._directory}: {reason}"
        logger.error("%s; no runs are taken until there is", self.condition)
        self._look_later()
        self.changed()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = self._later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._waited += LOOK_SECONDS
        self._evict()
        if not self._opens():
            self._look_later()
            return
        logger.warning("there is room again on the disk of %s; runs are taken", self._directory)
        self.condition, self._lacking = "", 0
        self.changed()

    def _opens(self) -> bool:
        """Whether runs should be tried again."""
        try:
            free, total = self._space(self._directory)
        except OSError:
            return False
        if self._lacking and free >= self._lacking:
            enough = True
            self._pause = 0.0
        else:
            pause = FIRST_PAUSE if self._lacking > total else self._pause
            enough = self._waited >= pause and free >= max(LEAST_BYTES, total // LEAST_FRACTION)
        return enough and self._takes_a_little()

    def _takes_a_little(self) -> bool:
        probe = self._directory / f"probe.{os.getpid()}.part"
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        except OSError:
            return False
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        return True
