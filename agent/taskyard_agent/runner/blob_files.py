"""Large payloads inside a worker: files in directories that others know as well.

A worker never talks to the server. Where it sees the directory that is the control plane's store, it reads
what is there and writes its results there, and that is all that ever happens to them. Elsewhere the agent has
put what a chunk names into a directory of its own before the worker gets it, and takes results from there.
"""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import SHA256, is_result, name_of
from taskyard_contract.encodings import decode
from taskyard_contract.errors import BlobNotFound, DigestMismatch
from taskyard_contract.values.files import Damaged, read_value

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def is_disk_trouble(error: BaseException) -> bool:
    """Whether a disk is full, or failed: the machine's fault, and never that of the run which met it."""
    return isinstance(error, OSError) and error.errno in _DISK


class BlobFiles:
    """The directories a worker knows."""

    def __init__(self, own: Path) -> None:
        """Use the directory of the agent."""
        self._own = BlobDirectory(own)
        self.store: BlobDirectory | None = None
        """The control plane's, if it is seen here."""

    def path(self, ref: common_pb2.BlobRef) -> Path:
        """Return where a blob is, or would be."""
        return self._path(name_of(ref), ref.size)

    def _path(self, name: str, size: int | None = None) -> Path:
        if self.store is not None:
            found = self.store.size(name)
            if found is not None and size in (None, found):
                return self.store.path(name)
        return self._own.path(name)

    def read(self, ref: common_pb2.BlobRef) -> memoryview:
        """Return a blob's content, as memory of this process alone.

        Raises:
            BlobNotFound: It is nowhere here.
            DigestMismatch: It is not what was stored.
            OSError: It cannot be read.
        """
        name = name_of(ref)
        return self._read(name, ref.size, None if name.startswith(SHA256) else ref.checksum)

    def value(self, name: str, size: int, checksum: int, encoding: str) -> Any:
        """Return a large value inside arguments: decoded anew for each run, so that none is shared.

        Raises:
            BlobNotFound, DigestMismatch, OSError: As `read`.
            Exception: It cannot be decoded.
        """
        return decode(self._read(name, size, checksum), encoding)

    def _read(self, name: str, size: int, checksum: int | None) -> memoryview:
        path = self._path(name, size)
        try:
            return read_value(path, size, checksum)
        except FileNotFoundError:
            raise BlobNotFound(
                f"there is no blob {name}: a value that the run needs was removed, or is damaged where it is "
                "stored; execute what made it again"
            ) from None
        except Damaged as error:
            if path == self._own.path(name):
                path.unlink(missing_ok=True)  # a copy: the next run has it fetched anew
            raise DigestMismatch(f"a value that the run needs is damaged: {error}") from None

    def fetched(self, name: str) -> bytes:
        """Return what there is under the name of a content, of which no more is known here.

        Raises:
            OSError: It is not here.
        """
        return self._path(name).read_bytes()

    def payload(self, payload: common_pb2.Payload) -> bytes | memoryview:
        """Return a payload's data, wherever it is."""
        return self.read(payload.blob) if payload.HasField("blob") else payload.data

    def write(self, name: str, pieces: Iterable[bytes | memoryview], size: int) -> bool:
        """Store what came of a run; says whether the agent still has to send it to the control plane.

        Raises:
            OSError: It could not be written; nothing is left of it.
        """
        directory = self._own if self.store is None else self.store
        if is_result(name):
            directory.write(name, pieces, size, durable=self.store is not None)
        else:  # another run may have come to the same: its file is never taken away from who reads it
            directory.add(name, pieces, size)
        return self.store is None
