"""Lets large files be written so that whoever waits for a commit of the database hardly notices.

A disk does one thing after the other: a commit waits for the sync before it, of whatever file that was. So
one large file is written at a time, whoever writes it, for a second, and then another one. And while the
database is committed to, the file is synced in small steps with a pause after each, some times as long as the
sync took; while it is not, there is no pause.

Whether it is shows without asking anybody and without anybody saying so: each commit changes the database's
log, and the directory says where that is. A control plane that ended, or was killed, changes nothing any
more, and a log that is not seen here, or is on another disk, holds up nobody.
"""

import fcntl
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from taskyard_contract.programs.private_files import create, opener

SYNC_BYTES: Final = 4 * 1024 * 1024
"""What is synced at a time: one sync of all would hold up others that sync, the database first."""
SMALL_SYNC_BYTES: Final = 1024 * 1024
"""The same while others commit. With less the syncs themselves would be most of the work."""
PAUSES: Final = 4.0
"""How long a pause is, as a multiple of what the sync before it took: a large file has a fifth of the disk's
time then."""
LONGEST_PAUSE: Final = 0.25
"""In seconds: a disk that was slow once must not stop everything."""
BUSY_SECONDS: Final = 0.05
"""So long after a commit the next one is expected."""
LOG_FILE: Final = ".commits"
"""Has the path of the log in it."""
TURN_FILE: Final = ".turn"
"""Who writes a large file has it locked. Two together would be no faster, and twice as much in the way."""
TURN_SECONDS: Final = 1.0
"""After that another one gets a chance to take his turn: a file may take minutes."""
PATIENCE_SECONDS: Final = 10.0
"""So long one waits while nobody takes a turn: who has it may have been stopped."""
LOOK_SECONDS: Final = 0.01


class Steps:
    """What has to be synced of a file now and then while it is written."""

    def __init__(self) -> None:
        """Begin with nothing written."""
        self.unsynced = 0
        self.most = SYNC_BYTES
        """What may be written between two syncs."""

    def wrote(self, descriptor: int, size: int) -> None:
        """Note that so much was written, and sync if that is enough.

        Raises:
            OSError: It could not be synced.
        """
        self.unsynced += size
        if self.unsynced >= self.most:
            self.unsynced = 0
            self._sync(descriptor)

    def _sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)


class GivingWay(Steps):
    """The steps of a large file, which give way to whoever commits."""

    def __init__(
        self,
        root: Path,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Write into the directory of blobs that is at `root`.

        Args:
            root: Where it is.
            clock: Seconds that never jump.
            sleep: Waits so many seconds.
        """
        super().__init__()
        self._root, self._clock, self._sleep = root, clock, sleep
        self._log = shown_log(root)
        self._seen = self._log_changed()
        self._busy_until = clock()

    def _sync(self, descriptor: int) -> None:
        began = self._clock()
        super()._sync(descriptor)
        now = self._clock()
        busy = self._is_busy(now)
        self.most = SMALL_SYNC_BYTES if busy else SYNC_BYTES
        if busy:
            self._sleep(min(PAUSES * (now - began), LONGEST_PAUSE))

    def _is_busy(self, now: float) -> bool:
        """Whether the database is committed to, or was a moment ago."""
        changed = self._log_changed()
        if changed != self._seen:
            self._seen, self._busy_until = changed, now + BUSY_SECONDS
        return now < self._busy_until

    def _log_changed(self) -> int | None:
        """Return when the log was changed last, None if there is none on this disk that is seen here."""
        if self._log is not None:
            with suppress(OSError):
                log = self._log.stat()
                if log.st_dev == self._root.stat().st_dev:
                    return log.st_mtime_ns
        return None


class InTurn(GivingWay):
    """The same, of one file at a time; to be used in `with`, inside of which it is written."""

    def __enter__(self) -> Self:
        """Wait for a turn.

        Raises:
            OSError: The directory cannot be written to.
        """
        self._turn = open(self._root / TURN_FILE, "ab", opener=opener)
        try:
            self._take_turn()
        except BaseException:
            self._turn.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let the next one have it."""
        self._turn.close()

    def _sync(self, descriptor: int) -> None:
        super()._sync(descriptor)
        if self._clock() - self._turn_since >= TURN_SECONDS:
            with suppress(OSError):
                fcntl.flock(self._turn, fcntl.LOCK_UN)
            self._sleep(2 * LOOK_SECONDS)  # whoever waits has looked by then
            self._take_turn()

    def _take_turn(self) -> None:
        """Wait until nobody else has the turn, or who has it seems to have been stopped."""
        taken = self._turn_taken()
        until = self._clock() + PATIENCE_SECONDS
        while not _is_locked(self._turn.fileno()):
            if self._clock() >= until:
                self._turn_since = math.inf  # no more turns with this file: each would take as long
                return
            self._sleep(LOOK_SECONDS)
            if taken != (taken := self._turn_taken()):
                until = self._clock() + PATIENCE_SECONDS
        self._turn_since = self._clock()
        with suppress(OSError):  # it helps only those who wait
            os.utime(self._turn.fileno())

    def _turn_taken(self) -> int:
        """Return when somebody took a turn last."""
        return os.fstat(self._turn.fileno()).st_mtime_ns


def show_log(root: Path, log: Path | None) -> None:
    """Let whoever writes into a directory know the log that each commit changes; None if there is none.

    Raises:
        OSError: It cannot be noted there.
    """
    place = root / LOG_FILE
    if log is None:
        place.unlink(missing_ok=True)
    elif shown_log(root) != log:
        fresh = root / f"{LOG_FILE}.{os.getpid()}"
        with create(fresh) as file:
            file.write(os.fsencode(log))
        fresh.replace(place)


def shown_log(root: Path) -> Path | None:
    """Return the log that each commit changes, None if a directory says of none."""
    with suppress(OSError):
        told = root.joinpath(LOG_FILE).read_bytes()
        if told.startswith(b"/") and b"\0" not in told:  # it is never synced, so it may be damaged
            return Path(os.fsdecode(told))
    return None


def _is_locked(descriptor: int) -> bool:
    """Lock a file, unless somebody else has it locked; given up by closing it, or by a kill."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # where files cannot be locked nobody waits
    return True
