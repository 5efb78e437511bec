"""Blobs in this process's memory: for tests, and for databases in memory, which lose everything as well."""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import is_result
from taskyard_contract.errors import BlobNotFound, InvalidRequest
from taskyard_controlplane.blobs.interface import StoredBlob
from taskyard_controlplane.blobs.places import MEMORY
from taskyard_controlplane.blobs.receiving import ReceivingWhole

PART_BYTES: Final = 256 * 1024


def _now_us() -> int:
    return time.time_ns() // 1_000


class MemoryStore:
    """`BlobStore` in memory; the protocol says what its methods promise."""

    url = MEMORY
    most_uploads = 8

    def __init__(self, now_us: Callable[[], int] = _now_us) -> None:
        """Have nothing."""
        self.directory: common_pb2.BlobDirectory | None = None
        self.now_us = now_us
        self.blobs: dict[str, tuple[bytes, int]] = {}
        self.lock = threading.Lock()

    def open(self, database_id: str) -> None:
        pass

    def receive(self, ref: common_pb2.BlobRef) -> "IncomingBytes":
        return IncomingBytes(self, ref)

    def missing(self, names: Sequence[str]) -> set[str]:
        with self.lock:
            for name in names:
                if name in self.blobs:
                    self.blobs[name] = self.blobs[name][0], self.now_us()
            return {name for name in names if name not in self.blobs}

    def size(self, name: str) -> int | None:
        found = self.blobs.get(name)
        return None if found is None else len(found[0])

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        found = self.blobs.get(name)
        if found is None:
            raise BlobNotFound(f"there is no blob {name}; it was never stored, or was removed")
        for start in range(offset, len(found[0]), PART_BYTES):
            yield found[0][start : start + PART_BYTES]

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        with self.lock:
            found = self.blobs.get(name)
            if found is not None and since_us is not None and found[1] > since_us:
                return False
            self.blobs.pop(name, None)
            return True

    def list(self, after: str = "") -> Iterator[StoredBlob]:
        with self.lock:
            names = sorted(self.blobs)
        for name in names[bisect_right(names, after) :]:
            found = self.blobs.get(name)
            if found is not None:
                yield StoredBlob(name, len(found[0]), found[1])

    def free_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self.blobs.clear()


class IncomingBytes(ReceivingWhole):
    """A blob on its way into memory."""

    def __init__(self, store: MemoryStore, ref: common_pb2.BlobRef) -> None:
        """Receive a blob."""
        super().__init__(ref)
        self._store = store

    def keep(self) -> None:
        content = bytes(self.content)
        with self._store.lock:
            before = self._store.blobs.get(self.name)
            if before is not None and before[0] != content and is_result(self.name):
                raise InvalidRequest(f"another result is stored as {self.name}", field="blob.name")
            self._store.blobs[self.name] = content, self._store.now_us()
