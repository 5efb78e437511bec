"""Files that only their owner can read and write, whatever the umask says.

Arguments and results of users are in them, and whoever can write a socket can have code executed. A program
of ours makes its own files under `UMASK`. What it starts on behalf of users gets back theirs: the files of a
task are the task's business.
"""

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from pathlib import Path

UMASK: Final = 0o077
FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
UNCHANGED: Final = -1
"""As a umask of `subprocess`: what this process has."""

_of_users: int = UNCHANGED


class NotOurs(Exception):
    """A file or directory belongs to another user, or to everybody; the message says which."""


def be_private() -> None:
    """Make this process create files for its user alone from here on."""
    global _of_users  # a umask belongs to the whole process, so what it was does too
    before = os.umask(UMASK)
    if _of_users == UNCHANGED:  # called again, it would find its own
        _of_users = before


def umask_of_users() -> int:
    """Return the umask for what is started on behalf of users: the one this process was started with."""
    return _of_users


def opener(path: str, flags: int) -> int:
    """Open a file for its user alone, one that is there already as well; to be given to `open`."""
    opened = os.open(path, flags, FILE_MODE)
    if stat.S_IMODE(os.fstat(opened).st_mode) != FILE_MODE:
        with suppress(PermissionError):  # on a file system without rights of its own
            os.fchmod(opened, FILE_MODE)
    return opened


def create(path: "Path") -> BinaryIO:
    """Open a file, made or emptied, to write bytes for this user alone."""
    return open(path, "wb", opener=opener)


def make_directory(path: "Path") -> None:
    """Make a directory, and those above it that are missing, for this user alone.

    Raises:
        OSError: It cannot be made.
    """
    if not path.is_dir():
        make_directory(path.parent)
        try:
            path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)  # others may make it at the same moment
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        path.chmod(DIRECTORY_MODE)  # the umask may have taken away even more


def close_to_others(path: "Path") -> None:
    """Take all rights on a file or directory of this user from everybody else.

    Raises:
        NotOurs: It belongs to another user, or is a directory that everybody may put files into.
        OSError: It cannot be looked at.
    """
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise NotOurs(f"{path} belongs to another user (number {found.st_uid}, this is {os.geteuid()})")
    if stat.S_ISDIR(found.st_mode) and (found.st_mode & stat.S_ISVTX or path.parent == path):
        raise NotOurs(f"{path} is a directory for everybody")
    mode = stat.S_IMODE(found.st_mode)
    if mode & UMASK:
        with suppress(PermissionError):  # on a file system without rights of its own
            path.chmod(mode & ~UMASK)
