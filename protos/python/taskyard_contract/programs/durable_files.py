"""What a file needs beside its own sync to be there after a power cut."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sync_directory(path: "Path") -> None:
    """Have the names in a directory on the disk.

    Raises:
        OSError: They cannot be synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
