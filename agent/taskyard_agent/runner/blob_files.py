"""Large payloads inside a worker: files that the agent has put into a directory both know.

A worker never talks to the server, so what is too large for a frame is there before the chunk that names it.
"""

import errno
from pathlib import Path
from typing import Final

from taskyard_api.v1 import common_pb2

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def is_disk_trouble(error: BaseException) -> bool:
    """Whether a disk is full, or failed: the machine's fault, and never that of the run which met it."""
    return isinstance(error, OSError) and error.errno in _DISK


class BlobFiles:
    """The directory into which the agent fetches blobs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, digest: bytes) -> bytes:
        """Return a blob's content.

        Raises:
            OSError: The agent did not fetch it.
        """
        return (self._directory / digest.hex()).read_bytes()

    def payload(self, payload: common_pb2.Payload) -> bytes:
        """Return a payload's data, wherever it is."""
        return self.read(payload.blob.digest) if payload.HasField("blob") else payload.data
