"""What a store of blobs does for the control plane. Everything blocks, and belongs into threads.

The database has rows that name blobs, a store has the bytes; neither knows the other. Bytes are stored before
anything names them, so what a kill leaves behind is named by nothing: it is found by listing the store, and
may be removed after a grace.

Invariant: a blob is seen under its name when all of it is stored durably, and what it holds never changes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from taskyard_api.v1 import common_pb2


class StoredBlob(NamedTuple):
    """What a listing says of a blob, or of what is left of one that was never finished."""

    name: str
    """What to remove it by. What was never finished has a name that no blob has."""
    size: int
    modified_us: int
    """When it was stored, or found to be there by `missing`, by the store's own clock."""


class Incoming(Protocol):
    """A blob that is being received. Of one thread after the other, but for `discard`."""

    def write(self, part: bytes | memoryview) -> None:
        """Take the next part, whose memory may be used for another one afterwards.

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
    """Keeps blobs by name. Thread-safe. Names have been checked.

    Every method may raise `StorageUnavailable`: the store does not answer, or refuses this process; the same
    call may succeed later.
    """

    url: str
    """Where it is, without anything that lets one in."""

    most_uploads: int
    """How many blobs may be received at a time: each takes memory, or a part of the disk's rate."""

    directory: common_pb2.BlobDirectory | None
    """What peers on the same machine are told of it, if they can use it; None before `open`."""

    def open(self, database_id: str) -> None:
        """Begin to be used by the owner of a database. Makes what is missing, and proves that it can write.

        MUST refuse with `OtherDatabase` what has the blobs of another database, of which none is named here.
        """
        ...

    def receive(self, ref: common_pb2.BlobRef) -> Incoming:
        """Return what takes in a blob. Alone of all methods this does not block: nothing is done before the
        first part, so that nothing is left of a call that ends before.

        Of inputs of runs, which are made while they are stored, the size and the checksum in `ref` need to be
        right only when all was written; until then the size is about that. They are not made durable: after
        a power cut nobody needs them.
        """
        ...

    def missing(self, names: Sequence[str]) -> set[str]:
        """Return those of some names that lead to nothing. The others are about to be used: where the store
        can note that, they are listed from now on as if they had just been stored.
        """
        ...

    def size(self, name: str) -> int | None:
        """Return the size of a blob, None when it is not stored."""
        ...

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """Iterate over the content of a blob from a byte on, in parts of 256 KiB at most.

        Raises:
            BlobNotFound: It is not stored.
            DigestMismatch: It ends before it should.
        """
        ...

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        """Remove a blob, or what a listing has found; returns whether there is none now.

        MUST leave alone what was stored, or found to be there, after `since_us` of the store's own clock, if
        that is given: also by somebody who does so at this moment, and is sure of it from then on.
        """
        ...

    def list(self, after: str = "") -> Iterator[StoredBlob]:
        """Iterate over all there is, in an order that does not change, from behind a name on.

        What comes and goes meanwhile may or may not be listed.
        """
        ...

    def now_us(self) -> int:
        """Return the time of the clock that listings go by."""
        ...

    def free_bytes(self) -> int | None:
        """Return how many bytes more it takes, None where nobody knows."""
        ...

    def close(self) -> None:
        """Give up what is open; a call in another thread may fail then."""
        ...
