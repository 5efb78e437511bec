"""Blobs as files in a directory, which agents and programs on the same machine use without asking.

See `taskyard_contract.blobs.directory` for how they do. Here are those whose bytes come through the control
plane: each is written to a file without a name, synced as it grows, and gets its name at the end. Where the
file system has such files a kill leaves nothing of them.

Invariant: a file is never truncated or written again under its name, since others may have mapped it.
"""

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import (
    PART_SUFFIX,
    RESERVED_BYTES,
    SPARE_BYTES,
    SPARE_SHARE,
    BlobDirectory,
)
from taskyard_contract.blobs.giving_way import GivingWay, Steps
from taskyard_contract.blobs.names import is_inputs, is_result, subdirectory
from taskyard_contract.errors import (
    BlobNotFound,
    DigestMismatch,
    InvalidRequest,
    StorageFull,
    StorageUnavailable,
)
from taskyard_contract.programs.private_files import FILE_MODE, NotOurs, create
from taskyard_controlplane.blobs.interface import StoredBlob
from taskyard_controlplane.blobs.receiving import Receiving, check_of
from taskyard_controlplane.blobs.stamps import STAMP, refuse_other

PART_BYTES: Final = 256 * 1024
"""What is read, and sent, at a time."""
RETRY_SECONDS: Final = 5.0
"""When to come back to a disk that failed: somebody has to see to it."""
_NAMELESS: Final = getattr(os, "O_TMPFILE", 0)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryStore:
    """`BlobStore` in a directory; the protocol says what its methods promise."""

    most_uploads = 64

    def __init__(self, path: Path, *, gives_way: bool = False) -> None:
        """Use a directory, which is made if it is missing.

        Args:
            path: The directory.
            gives_way: Whether large blobs are received with pauses while the database is committed to. For
                whoever has nothing else that makes them wait.
        """
        self._files = BlobDirectory(path.absolute())
        self._gives_way = gives_way
        self.url = str(self._files.root)
        self.directory: common_pb2.BlobDirectory | None = None

    def open(self, database_id: str) -> None:
        root = self._files.root
        try:
            self._files.make()
            self._stamp(database_id)
            nonce = self._files.mark()
        except (OSError, NotOurs) as error:
            raise StorageUnavailable(
                f"the directory of blobs, {root}, cannot be used: {error}; make room, see to its owner "
                "and its rights, or give another one with --blobs"
            ) from error
        self.directory = common_pb2.BlobDirectory(path=str(root.resolve()), nonce=nonce)

    def _stamp(self, database_id: str) -> None:
        """Note whose blobs these are; of two that do so at the same moment one is first."""
        stamp = self._files.root / STAMP
        if not stamp.exists():  # asked first: to write one costs a start some milliseconds
            self._write_stamp(stamp, database_id)
        refuse_other(database_id, stamp.read_bytes(), self.url, str(stamp))

    def _write_stamp(self, stamp: Path, database_id: str) -> None:
        fresh = stamp.with_name(f"{STAMP}.{secrets.token_hex(8)}")
        try:
            with create(fresh) as file:
                file.write(database_id.encode())
                file.flush()
                os.fdatasync(file.fileno())
            with suppress(FileExistsError):
                os.link(fresh, stamp)
        finally:
            fresh.unlink(missing_ok=True)

    def receive(self, ref: common_pb2.BlobRef) -> "IncomingFile":
        return IncomingFile(self, self._files, ref)

    def steps(self, size: int) -> Steps:
        """Return the steps in which a blob of a size is synced while it comes."""
        return GivingWay(self._files.root) if self._gives_way and size >= RESERVED_BYTES else Steps()

    def check_room(self, size: int) -> None:
        """Make sure that a blob fits, and leaves the database some room.

        Raises:
            StorageFull: It does not.
        """
        free = self.free_bytes()
        if size > free:
            raise StorageFull(
                f"the disk of {self.url} has {free:,} bytes left for blobs, and {size:,} do not fit; "
                "make room on it, or keep blobs elsewhere with --blobs",
                limit=free,
            )

    def missing(self, names: Sequence[str]) -> set[str]:
        with storage_errors(self.url):
            return {name for name in names if not self._renewed(name)}

    def size(self, name: str) -> int | None:
        with storage_errors(self.url):
            return self._files.size(name)

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        with storage_errors(self.url), self.opened(name) as descriptor:
            end = os.fstat(descriptor).st_size
            while offset < end:
                part = os.pread(descriptor, min(PART_BYTES, end - offset), offset)
                if not part:
                    raise DigestMismatch(
                        f"blob {name} in {self.url} is damaged: it ends at {offset} of {end}"
                    )
                offset += len(part)
                yield part

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Open a blob to read it.

        Raises:
            BlobNotFound: It is not stored.
        """
        try:
            descriptor = os.open(self._files.path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobNotFound(f"there is no blob {name}; it was never stored, or was removed") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        path = self._path(name)
        with storage_errors(self.url):
            if since_us is None:
                path.unlink(missing_ok=True)
                return True
            return _used_us(path) <= since_us and self._taken_away(path, since_us)

    def _taken_away(self, path: Path, since_us: int) -> bool:
        """Remove a file that nobody has used lately, even if somebody wants to at this moment: he finds none
        under its name, and writes it anew, or has touched it before, and it is put back.
        """
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART_SUFFIX}")
        with suppress(FileNotFoundError):
            path.rename(aside)
        is_used = _used_us(aside) > since_us
        if is_used:
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
        return not is_used

    def list(self, after: str = "") -> Iterator[StoredBlob]:
        first = int(_folder(after), 16) if after else 0
        for number in range(first, 256):
            for name in self._names(number):
                if number > first or name > after:
                    yield from self._found(name)

    def now_us(self) -> int:
        fresh = self._files.root / f".now.{secrets.token_hex(8)}"
        with storage_errors(self.url):
            try:
                with create(fresh) as file:
                    return os.fstat(file.fileno()).st_mtime_ns // 1_000
            finally:
                fresh.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        with storage_errors(self.url):
            found = os.statvfs(self._files.root)
        spare = min(found.f_blocks * found.f_frsize // SPARE_SHARE, SPARE_BYTES)
        return max(found.f_bavail * found.f_frsize - spare, 0)

    def close(self) -> None:
        self.directory = None

    def _renewed(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            os.utime(self._files.path(name))
            return True
        return False

    def _names(self, number: int) -> Sequence[str]:
        with storage_errors(self.url), suppress(FileNotFoundError):
            return sorted(os.listdir(self._files.root / f"{number:02x}"))
        return ()

    def _found(self, name: str) -> Iterator[StoredBlob]:
        with storage_errors(self.url), suppress(FileNotFoundError):
            found = self._path(name).stat()
            yield StoredBlob(name, found.st_size, found.st_mtime_ns // 1_000)

    def _path(self, name: str) -> Path:
        return self._files.root / _folder(name) / name


class IncomingFile(Receiving):
    """A blob on its way into a directory."""

    def __init__(self, store: DirectoryStore, directory: BlobDirectory, ref: common_pb2.BlobRef) -> None:
        """Receive a blob."""
        super().__init__(ref)
        self._store = store
        self._directory = directory
        self._lasts = not is_inputs(self.name)
        self._steps = store.steps(ref.size)

    def begin(self) -> None:
        self._store.check_room(self.ref.size)
        with storage_errors(self._store.url), ExitStack() as stack:
            self._part = stack.enter_context(self._directory.receiving(self.name))
            self._file = stack.enter_context(_nameless(self._part) or create(self._part))
            if self.ref.size >= RESERVED_BYTES and self._lasts:
                os.posix_fallocate(self._file.fileno(), 0, self.ref.size)
            self._stack = stack.pop_all()

    def take(self, part: bytes | memoryview) -> None:
        with storage_errors(self._store.url):
            self._file.write(part)
            self._file.flush()
            if self._lasts:
                self._steps.wrote(self._file.fileno(), len(part))

    def keep(self) -> None:
        with storage_errors(self._store.url):
            self._sync()
            if is_result(self.name) and self._holds_another():
                raise InvalidRequest(f"another result is stored as {self.name}", field="blob.name")
            if not self._part.exists():
                # With a descriptor, of which an absolute path makes no use: Python follows what /proc has
                # only then.
                number = self._file.fileno()
                os.link(f"/proc/self/fd/{number}", self._part, src_dir_fd=number, follow_symlinks=True)
            self._stack.close()

    def abandon(self) -> None:
        with storage_errors(self._store.url):
            self._stack.pop_all()
            self._part.unlink(missing_ok=True)
            with suppress(OSError):  # of what could not be written, and is not wanted any more
                self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        if self._lasts:
            os.fdatasync(self._file.fileno())

    def _holds_another(self) -> bool:
        """Whether the name has another content: a report may have said which, so it has to stay."""
        if self._directory.size(self.name) != self.ref.size:
            return False  # nothing, or what a worker was writing that was killed
        check = check_of(self.ref)
        with open(self._directory.path(self.name), "rb", buffering=0) as file:
            while part := file.read(PART_BYTES):
                check.update(part)
        return not check.is_right()


def _nameless(part: Path) -> BinaryIO | None:
    """Open a file that has no name yet, and is gone when nobody has it open; None where there are none."""
    with suppress(OSError):
        if _NAMELESS and os.path.isdir("/proc/self/fd"):
            flags = os.O_WRONLY | os.O_CLOEXEC | _NAMELESS
            return os.fdopen(os.open(part.parent, flags, FILE_MODE), "wb")
    return None


def _used_us(path: Path) -> int:
    """Return when a file was written or touched; 0 when there is none."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns // 1_000
    return 0


def _folder(name: str) -> str:
    """Return the subdirectory of a blob, or of what was never finished: see `BlobDirectory.receiving`."""
    if name.startswith(".") and name.endswith(PART_SUFFIX):
        name = name[1:].removesuffix(PART_SUFFIX).rpartition(".")[0]
    return subdirectory(name)


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn what a disk says into what callers are told.

    Raises:
        StorageFull: It is full.
        StorageUnavailable: It cannot be used.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"the disk of {where} is full; make room on it") from error
        raise StorageUnavailable(
            f"the directory of blobs, {where}, cannot be used: {error}", retry_after=RETRY_SECONDS
        ) from error
