"""Keeps a second owner away from an SQLite database.

For a file, a lock of the kernel on a file beside it: gone the moment its process is, however that ended.
Invariant: between `acquire` and `release` no other holder of the same database exists on this machine.
"""

import fcntl
import os
from pathlib import Path
from typing import ClassVar, Protocol

from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.programs.private_files import make_directory, opener
from taskyard_controlplane.storage.errors import DatabaseInUse


class OwnerLock(Protocol):
    """What keeps a second control plane off a database, since SQLite itself admits several writers."""

    def acquire(self) -> None:
        """Take it, or raise `DatabaseInUse`."""
        ...

    def release(self) -> None:
        """Give it up; does nothing when it is not held."""
        ...


def lock_for(path: Path | None, memory: str) -> OwnerLock:
    """Return the lock of a database file, or of a named database in memory."""
    return MemoryLock(memory) if path is None else LockFile(path)


class MemoryLock:
    """The same promise for a database in this process's memory."""

    _held: ClassVar[set[str]] = set()

    def __init__(self, name: str) -> None:
        self._name = name
        self._mine = False

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DatabaseInUse: Another store of this process has it.
        """
        if self._name in self._held:
            raise DatabaseInUse(
                f"the database in memory named {self._name!r} is in use by this process "
                f"({os.getpid()}); close the other store, or choose another name"
            )
        self._held.add(self._name)
        self._mine = True

    def release(self) -> None:
        if self._mine:
            self._held.discard(self._name)
            self._mine = False


class LockFile:
    """An exclusive lock on `<database>.lock`; the file holds the number of the process that has it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DatabaseInUse: Another process, or another store of this one, has it.
            StorageUnavailable: The file cannot be made.
        """
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DatabaseInUse(
                f"the database {self._database} is in use by process {holder}; "
                "stop that one, or use another database"
            ) from None
        self._fd = fd
        self._note_pid()

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would let two processes lock different files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        try:
            make_directory(self._path.parent)
            return opener(str(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise StorageUnavailable(
                f"cannot make the lock file {self._path}: {error.strerror}; "
                "the database's directory must exist and be writable"
            ) from error

    def _note_pid(self) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            # A full disk. The lock holds all the same; only the message of a refused process is poorer.
            return
