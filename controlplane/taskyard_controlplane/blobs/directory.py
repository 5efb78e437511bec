"""Blobs as files in a directory, which agents and programs on the same machine use without asking.

See `taskyard_contract.blobs.directory` for how they do. Here are those whose bytes come through the control
plane: each is written to a file without a name, synced as it grows, and gets its name at the end.
"""

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import xxhash
from blake3 import blake3

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import SYNC_BYTES, BlobDirectory
from taskyard_contract.blobs.names import CONTENT, is_result, name_of
from taskyard_contract.errors import DigestMismatch, InvalidRequest, StorageFull, StorageUnavailable
from taskyard_contract.programs.private_files import NotOurs, create

PART_BYTES: Final = 256 * 1024
"""What is read, and sent, at a time."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryStore:
    """Keeps blobs in a directory."""

    def __init__(self, path: Path) -> None:
        """Use `path`, which is made if it is missing."""
        self._directory = BlobDirectory(path)

    def open(self) -> common_pb2.BlobDirectory | None:
        """Begin to be used: see `BlobStore.open`."""
        path = self._directory.root
        try:
            self._directory.make()
            return common_pb2.BlobDirectory(path=str(path.resolve()), nonce=self._directory.mark())
        except (OSError, NotOurs) as error:
            raise StorageUnavailable(
                f"the directory of blobs, {path}, cannot be used: {error}; give another one with --blobs"
            ) from error

    def receive(self, ref: common_pb2.BlobRef) -> "IncomingFile":
        """Begin to take in a blob: see `BlobStore.receive`."""
        with storage_errors():
            self._directory.check_room(ref.size)
        return IncomingFile(self._directory, ref)

    def size(self, name: str) -> int | None:
        """Return the size of a blob: see `BlobStore.size`."""
        with storage_errors():
            return self._directory.size(name)

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """Iterate over a blob: see `BlobStore.read`."""
        path = self._directory.path(name)
        with storage_errors(), suppress(FileNotFoundError), open(path, "rb", buffering=0) as file:
            file.seek(offset)
            while part := file.read(PART_BYTES):
                yield part


class IncomingFile:
    """A blob on its way into a directory."""

    def __init__(self, directory: BlobDirectory, ref: common_pb2.BlobRef) -> None:
        """Receive a blob."""
        self._directory = directory
        self._ref = ref
        self._name = name_of(ref)
        self._check = check_of(ref)
        self._unsynced = 0
        self._stack = ExitStack()
        self._at_work = threading.Lock()
        self._over = False
        with storage_errors():
            self._part = self._stack.enter_context(directory.receiving(self._name))
            self._file = self._stack.enter_context(create(self._part))

    def write(self, part: bytes) -> None:
        """Take the next part: see `Incoming.write`."""
        with self._working():
            self._check.update(part)
            self._file.write(part)
            self._unsynced += len(part)
            if self._unsynced >= SYNC_BYTES:
                self._sync()

    def finish(self) -> None:
        """Store it under its name: see `Incoming.finish`."""
        with self._working():
            if not self._check.is_right():
                raise DigestMismatch(f"the blob is not what {self._name} stands for; repeat the upload once")
            self._sync()
            self._file.close()
            if is_result(self._name) and self._holds_another():
                raise InvalidRequest(f"another result is stored as {self._name}", field="blob.name")
            self._stack.close()

    def discard(self) -> None:
        """Leave nothing of it: see `Incoming.discard`."""
        self._over = True
        if self._at_work.acquire(blocking=False):
            try:
                self._part.unlink(missing_ok=True)
                self._stack.pop_all()
                self._file.close()
            finally:
                self._at_work.release()

    def _sync(self) -> None:
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._unsynced = 0

    def _holds_another(self) -> bool:
        """Whether the name has another content: a report may have said which, so it has to stay."""
        path = self._directory.path(self._name)
        if self._directory.size(self._name) != self._ref.size:
            return False  # nothing, or what a worker was writing that was killed
        seen = xxhash.xxh3_64()
        with open(path, "rb", buffering=0) as file:
            while part := file.read(PART_BYTES):
                seen.update(part)
        return seen.intdigest() != self._ref.checksum

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the file, and remove it at the end if it was discarded meanwhile."""
        try:
            with self._at_work, storage_errors():
                yield
        finally:
            if self._over:
                self.discard()


class ContentCheck:
    """Finds out whether content is what its reference says."""

    def __init__(self, seen: Any, expected: str) -> None:
        """Compute `seen`, which is to come to `expected`, in hexadecimal."""
        self._seen = seen
        self._expected = expected
        self.update = seen.update

    def is_right(self) -> bool:
        """Say whether everything that came is what was expected."""
        return bool(self._seen.hexdigest() == self._expected)


def check_of(ref: common_pb2.BlobRef) -> ContentCheck:
    """Return the check of a content, by its name: what it is named by is computed here."""
    if not ref.name or ref.name.startswith("sha256-"):
        return ContentCheck(hashlib.sha256(), name_of(ref).removeprefix("sha256-"))
    if ref.name.startswith(CONTENT):
        return ContentCheck(blake3(), ref.name.removeprefix(CONTENT))
    return ContentCheck(xxhash.xxh3_64(), f"{ref.checksum:016x}")


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a disk says into what callers are told.

    Raises:
        StorageFull: It is full.
        StorageUnavailable: It cannot be used.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"the disk of the blobs is full ({error.strerror}); make room on it") from error
        raise StorageUnavailable(f"the directory of blobs cannot be used: {error}") from error
