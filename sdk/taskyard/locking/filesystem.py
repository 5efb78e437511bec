"""Locks in files of a directory, for the processes of one machine.

A lock is a small file that says who holds it. It is made, replaced and removed only under a lock of the
operating system on one further file, which ends with the process that has it, so no two processes can decide
about a key at once. That lock is held for as long as a small file takes to be written, never while somebody
waits or works.

Invariant: a lock whose process has ended is free. A process that was killed leaves its files; whoever meets
one of them asks whether that process is still there. Of other machines nobody can say that here: their locks
end by `release_lock`, or by their hold_timeout.
"""

import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from taskyard.locking._polled import PolledLocks, not_held

__all__ = ["FileSystemLockManager"]

_PLAIN: Final = re.compile(r"(?!\.)[\w.-]{1,180}", re.ASCII)
_GUARD: Final = ".guard"


class FileSystemLockManager(PolledLocks):
    """Keeps locks in files: for programs of several processes that see the same directory."""

    def __init__(self, lock_files_directory: Path | str) -> None:
        """Use a directory, which is made when the first lock is taken."""
        self.lock_files_directory = Path(lock_files_directory).expanduser().resolve()

    def _try(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        with self._guarded():
            found = self._holder(key)
            if found is None:
                self._write(key, holder, hold_timeout)
            return found in (None, holder)

    def release_lock(self, key: str, holder: str) -> None:
        """Let others have the lock of a key.

        Raises:
            ValueError: `holder` does not hold it.
        """
        with self._guarded():
            if self._holder(key) != holder:
                raise not_held(key, holder)
            self._path(key).unlink()

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds the lock of a key."""
        return self._holder(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Say whether `holder` holds it."""
        return self._holder(key) == holder

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self.lock_files_directory.mkdir(parents=True, exist_ok=True)
        # Opened anew each time: threads that shared an open file would not exclude each other.
        descriptor = os.open(self.lock_files_directory / _GUARD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:  # said, as a child that another thread forks now has the open file too
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _path(self, key: str) -> Path:
        plain = key if _PLAIN.fullmatch(key) else f"sha256-{hashlib.sha256(key.encode()).hexdigest()}"
        return self.lock_files_directory / f"{plain}.lock"

    def _write(self, key: str, holder: str, hold_timeout: float | None) -> None:
        expires = None if hold_timeout is None else datetime.now(UTC) + timedelta(seconds=hold_timeout)
        said = {
            "key": key,
            "holder": holder,
            "expiration": expires and expires.isoformat(),
            "host": _host(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }
        path = self._path(key)
        new = path.with_name(f".{path.name}.new")  # one writer at a time: it is written under the guard
        new.write_text(json.dumps(said))
        os.replace(new, path)

    def _holder(self, key: str) -> str | None:
        """Return who holds a lock; None where that is nobody, or nobody any more."""
        try:
            said = json.loads(self._path(key).read_text())
            held = not _is_over(said)
            return str(said["holder"]) if held else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"the lock file {self._path(key)} cannot be read ({error}); it was not written by a lock"
                " manager of this release: remove it if nobody holds the lock"
            ) from error

    def __eq__(self, other: object) -> bool:
        """Two with the same directory are equal."""
        if not isinstance(other, FileSystemLockManager):
            return False
        return self.lock_files_directory == other.lock_files_directory

    def __hash__(self) -> int:
        return hash(self.lock_files_directory)


def _is_over(said: dict[str, Any]) -> bool:
    expires = said["expiration"]
    if expires is not None and datetime.fromisoformat(expires) <= datetime.now(UTC):
        return True
    return bool(said["host"] == _host()) and _started(int(said["pid"])) != said["started"]


def _host() -> str:
    """Name where process ids mean what they mean here: containers of one machine may share its name."""
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the machine did, as ids are used again; "" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
