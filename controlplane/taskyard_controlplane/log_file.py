"""Keeps the log of a yard in the background bounded.

Everybody who belongs to the yard writes into the one file that it was started with: agent, zygotes,
workers, and whatever these start. So the file cannot be replaced by another one; what is in it is copied,
and then it is cut. All of them append, so they go on at its new end. What is written between the copy and
the cut is lost.
"""

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Final

from taskyard_contract.programs.private_files import opener

MOST_BYTES: Final = 10 * 1024 * 1024
"""Some 80,000 lines; there are at most twice as many, with those before."""
LOG_NAME: Final = "yard.log"
FORMER_NAME: Final = "yard.log.1"


class LogFile:
    """The file that standard error of this process is, if that is the log of its home."""

    def __init__(self, home: Path, most_bytes: int = MOST_BYTES) -> None:
        """Look whether what is logged goes into the log of `home`: it may go to a terminal as well."""
        self._path, self._former = home / LOG_NAME, home / FORMER_NAME
        self._most_bytes = most_bytes

    def is_full(self) -> bool:
        """Whether the log has become too long. Costs two system calls."""
        try:
            own, there = os.fstat(sys.stderr.fileno()), self._path.stat()
        except (AttributeError, OSError, ValueError):  # there is none, or it was removed
            return False
        same = stat.S_ISREG(own.st_mode) and os.path.samestat(own, there)
        return same and own.st_size > self._most_bytes

    def begin_anew(self) -> None:
        """Keep what is in the log as the former one, in the place of that before, and empty it.

        Raises:
            OSError: That is not possible; it is full again when it is twice as long.
        """
        try:
            with open(self._path, "rb") as log, open(self._former, "wb", opener=opener) as former:
                shutil.copyfileobj(log, former)
            os.truncate(self._path, 0)
        except OSError:
            self._most_bytes *= 2
            raise
