"""What a folder takes on the disk."""

import os
from contextlib import suppress
from pathlib import Path

_BLOCK = 512


def used_mb(folder: Path, *, but_for: tuple[str, ...] = ()) -> float:
    """Return the room that the files below a folder take, in MB, but for those with some suffixes.

    It is what they take and not how long they are, because files may have holes.
    """
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(but_for):
                # A file may go while we look.
                with suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(where, name)).st_blocks * _BLOCK
    return total / 1e6
