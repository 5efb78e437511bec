"""Whether the files that SQLite has open are still the ones that others will find.

A file that was deleted or replaced can be read and written by whoever has it open, as if nothing had
happened, and is gone the moment it is closed. SQLite does not look, so this does, every few seconds. It only
asks for what a path leads to: opening a file and closing it again would let go of SQLite's locks.
"""

import os
from pathlib import Path

from taskyard_controlplane.storage.engine import LOG_SUFFIX
from taskyard_controlplane.storage.errors import DatabaseLost


class Presence:
    """The files of one database, as they were when they were opened."""

    def __init__(self, path: Path) -> None:
        """Watch nothing before `opened`."""
        self._path = path
        self._log = path.with_name(path.name + LOG_SUFFIX)
        self._file_was: tuple[int, int] | None = None
        self._log_was: tuple[int, int] | None = None

    def opened(self) -> None:
        """Note which files are open now."""
        self._file_was, self._log_was = _inode(self._path), _inode(self._log)

    def reopening(self) -> None:
        """Make sure that a new connection will find what the last one had; the log may be made anew with it.

        Raises:
            DatabaseLost: SQLite would make an empty database, or open another one.
        """
        self._check(self._path, self._file_was, "the database")
        self._log_was = None

    def check(self) -> None:
        """Make sure that the open files are those which others find.

        Raises:
            DatabaseLost: One of them was deleted or replaced.
        """
        self._check(self._path, self._file_was, "the database")
        if self._log_was is None:
            self._log_was = _inode(self._log)
        self._check(self._log, self._log_was, "the write-ahead log of the database")

    def _check(self, path: Path, was: tuple[int, int] | None, what: str) -> None:
        if was is None:
            return
        try:
            found = os.stat(path)
        except FileNotFoundError:
            happened = "deleted"
        except OSError:
            return  # a directory that cannot be read says nothing about what is in it
        else:
            if (found.st_dev, found.st_ino) == was:
                return
            happened = "replaced by another file"
        raise DatabaseLost(
            f"{what} {path} was {happened} while this server used it; nothing more is acknowledged. "
            "Restore the database from a copy, or start with what is there: see 'Lost databases' in "
            "docs/operations.md"
        )


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
