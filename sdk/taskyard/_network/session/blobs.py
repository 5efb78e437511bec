"""Large values between this process and the control plane's store.

Where the store is a directory that this process sees, values are written and read there, and the control
plane is only told their names. Elsewhere they are sent and received in parts.
Invariant: what `put` returns names content that is stored.
"""

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import DigestMismatch, StorageFull, StorageUnavailable
from taskyard_contract.transport.blob_transfer import ref_of

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_contract.blobs.directory import BlobDirectory
    from taskyard_contract.values.layout import LaidOut

_REMEMBERED: Final = 1_000
"""Names of contents that were given here: to find one again costs a tenth of what naming it does."""


class Blobs:
    """The store, for one session. Its methods block; any thread may use it."""

    def __init__(
        self, client: Callable[[], "Client"], announced: Callable[[], common_pb2.BlobDirectory]
    ) -> None:
        """Reach the store through `client`, or where the server's welcome `announced` it."""
        self._client = client
        self._announced = announced
        self._looked_at = common_pb2.BlobDirectory()
        self._directory: BlobDirectory | None = None
        self._names: OrderedDict[bytes, str] = OrderedDict()

    @property
    def directory(self) -> "BlobDirectory | None":
        """The store, if it is a directory that this process sees."""
        announced = self._announced()
        if announced != self._looked_at:
            from pathlib import Path  # programs that only import the SDK do without

            from taskyard_contract.blobs.directory import BlobDirectory

            found = BlobDirectory(Path(announced.path))
            self._directory = found if found.is_marked(announced.nonce) else None
            self._looked_at = announced
        return self._directory

    def put(self, value: "bytes | LaidOut") -> common_pb2.BlobRef:
        """Store content under the name that it has by its hash, unless it is there.

        Raises:
            StorageFull, StorageUnavailable: The directory does not take it.
            TaskyardError: The control plane does not take it, or cannot be reached.
        """
        pieces, size = pieces_of(value)
        ref = self._ref_of(pieces, size)
        directory = self.directory
        if directory is not None:
            with _typed_errors(size):
                directory.add(ref.name, pieces, size)
        else:
            self._client().upload(ref, pieces)
        return ref

    def named(self, value: "bytes | LaidOut") -> common_pb2.BlobRef:
        """Return what `put` would return, and store nothing."""
        return self._ref_of(*pieces_of(value))

    def _ref_of(self, pieces: "Sequence[bytes | memoryview]", size: int) -> common_pb2.BlobRef:
        from taskyard_contract.blobs.names import checksum_of

        return common_pb2.BlobRef(name=self._name_of(pieces), size=size, checksum=checksum_of(pieces))

    def put_result(self, value: "bytes | LaidOut", run_id: bytes, epoch: int) -> common_pb2.BlobRef:
        """Store what a run returned that this process has executed.

        Raises:
            TaskyardError: As `put`.
        """
        from taskyard_contract.blobs.names import checksum_of, result_name

        pieces, size = pieces_of(value)
        ref = common_pb2.BlobRef(name=result_name(run_id, epoch), size=size, checksum=checksum_of(pieces))
        directory = self.directory
        if directory is not None:
            with _typed_errors(size):
                directory.write(ref.name, pieces, size)
        else:
            self._client().upload(ref, pieces)
        return ref

    def put_for_all(self, data: bytes) -> common_pb2.BlobRef:
        """Store content for programs in any language, under the name that all of them can make.

        Raises:
            TaskyardError: The control plane does not take it, or cannot be reached.
        """
        ref = ref_of(data)
        self._client().upload(ref, [data])
        return ref

    def read(self, ref: common_pb2.BlobRef) -> "bytes | memoryview":
        """Return a stored content, as memory of this process alone.

        Raises:
            BlobNotFound: It is not stored, or no more.
            DigestMismatch: It is not what was stored.
        """
        directory = self.directory
        if directory is not None and ref.name and directory.size(ref.name) == ref.size:
            from taskyard_contract.values.files import Damaged, read_value

            try:
                return read_value(directory.path(ref.name), ref.size, ref.checksum)
            except Damaged as error:
                raise DigestMismatch(str(error)) from None
        return self._client().download(ref)

    def _name_of(self, pieces: "Sequence[bytes | memoryview]") -> str:
        import xxhash

        from taskyard_contract.blobs.names import content_name

        seen = xxhash.xxh3_128()
        for piece in pieces:
            seen.update(piece)
        key = seen.digest()
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = content_name(pieces)
            if len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)
        return name


@contextmanager
def _typed_errors(size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"a value of {size:,} bytes could not be stored: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{what}; make room on the disk of the control plane's blobs") from error
        raise StorageUnavailable(what) from error


def pieces_of(value: "bytes | LaidOut") -> "tuple[Sequence[bytes | memoryview], int]":
    """Return a content as pieces, and how long these are together."""
    if isinstance(value, bytes):
        return [value], len(value)
    return value.pieces, value.size
