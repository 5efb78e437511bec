"""What a store of blobs does for the control plane. Everything blocks, and belongs into threads.

Invariant: a blob is seen under its name when all of it is stored durably, and what it holds never changes.
"""

from collections.abc import Iterator
from typing import Protocol

from taskyard_api.v1 import common_pb2


class Incoming(Protocol):
    """A blob that is being received. Of one thread after the other, but for `discard`."""

    def write(self, part: bytes) -> None:
        """Take the next part.

        Raises:
            StorageFull: There is no room for it.
            StorageUnavailable: The store does not take it.
        """
        ...

    def finish(self) -> None:
        """Store what was written, durably, under its name.

        Raises:
            StorageFull, StorageUnavailable: As `write`.
            DigestMismatch: It is not what was announced.
            InvalidRequest: Another result is stored under the name.
        """
        ...

    def discard(self) -> None:
        """Leave nothing of what was not finished; may come while another thread writes."""
        ...


class BlobStore(Protocol):
    """Keeps blobs by name."""

    def open(self) -> common_pb2.BlobDirectory | None:
        """Begin to be used; returns what peers on the same machine are told of it, if they can use it.

        Raises:
            StorageUnavailable: It cannot be used.
        """
        ...

    def receive(self, ref: common_pb2.BlobRef) -> Incoming:
        """Begin to take in a blob.

        Raises:
            StorageFull: There is no room for it.
        """
        ...

    def size(self, name: str) -> int | None:
        """Return the size of a blob, None when it is not stored."""
        ...

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """Iterate over the content of a blob from a byte on, in parts; nothing when it is not stored."""
        ...
