"""The directory in which programs on one machine keep blobs, each of them as one file.

Whoever sees the directory (the control plane, agents' workers, the programs that submit) writes and reads
files here, and sends nothing but their names. A file is written once, synced to the disk before anybody is
told of it, and never truncated or written again, because others may have mapped it: to change a mapped file
would kill its readers. So a file that nobody was told of, which a kill left behind, harms nobody.

That two programs see the same directory is proved by a nonce that the control plane writes into it: the path
alone may lead elsewhere, in a container for example.

Invariant: a file has its final name only when it is complete, but for results, whose name is not said before.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from taskyard_contract.blobs.giving_way import InTurn, Steps
from taskyard_contract.blobs.names import is_result, subdirectory
from taskyard_contract.programs.durable_files import sync_directory
from taskyard_contract.programs.private_files import close_to_others, create, make_directory, opener

NONCE_FILE: Final = ".store"
NONCE_BYTES: Final = 16
PART_SUFFIX: Final = ".part"
"""Of a file that is being received, and has no final name yet."""
PIECE_BYTES: Final = 1024 * 1024
"""What is written at a time; a copy of it is no long one."""
MOST_PIECES: Final = 1_000
"""Of one `writev`; the system takes 1,024."""
SPARE_BYTES: Final = 1024**3
SPARE_SHARE: Final = 50
"""What stays free of a disk, so that a database on it can go on: a 50th of it, but not more than 1 GiB."""
RESERVED_BYTES: Final = 64 * 1024 * 1024
"""Files of this size and more are large: they reserve their room first, so that a full disk is noticed before
the work, and give way to whoever commits."""


class BlobDirectory:
    """A directory of blobs. Its methods block; threads and processes may use it at the same time."""

    def __init__(self, path: Path) -> None:
        """Use a directory that `make` has made, by this process or another one."""
        self.root = path

    def make(self) -> None:
        """Make what is missing of it, synced.

        Raises:
            OSError: It cannot be made.
        """
        make_directory(self.root)
        close_to_others(self.root)
        for number in range(256):
            self.root.joinpath(f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        sync_directory(self.root)

    def mark(self) -> bytes:
        """Write a fresh nonce, and return it.

        Raises:
            OSError: It cannot be written.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        fresh = self.root / f"{NONCE_FILE}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        with create(fresh) as file:
            file.write(nonce)
        fresh.replace(self.root / NONCE_FILE)
        return nonce

    def is_marked(self, nonce: bytes) -> bool:
        """Whether this process sees, and may write to, the directory that has a nonce."""
        with suppress(OSError):
            known = self.root.joinpath(NONCE_FILE).read_bytes() == nonce and len(nonce) == NONCE_BYTES
            return known and os.access(self.root / "00", os.W_OK | os.X_OK)
        return False

    def path(self, name: str) -> Path:
        """Return where a blob is, or would be.

        Raises:
            ValueError: The name would lead out of the directory.
        """
        if "/" in name or name.startswith("."):
            raise ValueError(f"{name[:128]!r} is no name of a blob")
        return self.root / subdirectory(name) / name

    def size(self, name: str) -> int | None:
        """Return the size of a blob, None when there is none."""
        with suppress(FileNotFoundError):
            return self.path(name).stat().st_size
        return None

    def write(
        self, name: str, pieces: Iterable[bytes | memoryview], size: int, *, durable: bool = True
    ) -> None:
        """Store what was returned under a name that nobody was told of; it is on the disk afterwards.

        Args:
            name: Its name.
            pieces: All of it, in order.
            size: How long these are together, in bytes.
            durable: Whether it has to be on the disk: what is only on its way elsewhere need not.

        Raises:
            OSError: It could not be written; nothing is left of it.
        """
        path = self.path(name)
        with suppress(FileNotFoundError):
            path.unlink()  # left by a worker that was killed before it could tell of it
        with self.steps(size) if durable else nullcontext() as steps:
            _write(path, pieces, size, steps)
        if durable:
            sync_directory(path.parent)

    def add(self, name: str, pieces: Iterable[bytes | memoryview], size: int) -> None:
        """Store content under the name it has by its hash, unless it is here; it is on the disk afterwards.

        Raises:
            OSError: It could not be written; nothing is left of it.
        """
        if self._is_here(name, size):
            return
        with self.receiving(name) as part, self.steps(size) as steps:
            _write(part, pieces, size, steps)

    def steps(self, size: int) -> AbstractContextManager[Steps]:
        """Give the steps in which a file of a size is synced while it is written; a large one gives way."""
        return InTurn(self.root) if size >= RESERVED_BYTES else nullcontext(Steps())

    @contextmanager
    def receiving(self, name: str) -> Iterator[Path]:
        """Give a path to write a blob to, and let it have its name afterwards; written is what was synced.

        Raises:
            OSError: It cannot get its name.
        """
        path = self.path(name)
        part = path.with_name(f".{name}.{secrets.token_hex(8)}{PART_SUFFIX}")
        try:
            yield part
            if is_result(name) or not self._is_here(name, part.stat().st_size):
                part.replace(path)  # who has mapped another file of this name keeps it
            sync_directory(path.parent)
        finally:
            part.unlink(missing_ok=True)

    def _is_here(self, name: str, size: int) -> bool:
        """Whether some content is here already. Used again, it is not to be taken for an orphan."""
        with suppress(FileNotFoundError):
            os.utime(self.path(name))
            return self.size(name) == size
        return False

    def remove(self, name: str) -> bool:
        """Remove a blob; says whether there was one. Whoever has mapped it keeps it."""
        with suppress(FileNotFoundError):
            self.path(name).unlink()
            return True
        return False


def _write(path: Path, pieces: Iterable[bytes | memoryview], size: int, steps: Steps | None) -> None:
    """Write a file in steps, and sync all of it; not at all if there are none."""
    try:
        with open(path, "xb", buffering=0, opener=opener) as file:
            descriptor = file.fileno()
            if steps is not None:
                _check_room(descriptor, size)
            if size >= RESERVED_BYTES:
                os.posix_fallocate(descriptor, 0, size)
            _write_all(descriptor, pieces, steps)
            if steps is not None:
                os.fdatasync(descriptor)
    except BaseException:
        # What could not be synced is lost, whatever a second sync of it would say.
        path.unlink(missing_ok=True)
        raise


def _check_room(descriptor: int, size: int) -> None:
    """Refuse what would take the last room of a disk: the database may need it, to go on at all."""
    found = os.fstatvfs(descriptor)
    free, spare = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize // SPARE_SHARE
    if free - size < min(spare, SPARE_BYTES):
        raise OSError(errno.ENOSPC, f"only {free:,} bytes are free, and some of them stay so")


def _write_all(descriptor: int, pieces: Iterable[bytes | memoryview], steps: Steps | None) -> None:
    for group in _groups(pieces):
        while group:
            written = os.writev(descriptor, group)
            group = _rest(group, written)
            if steps is not None:
                steps.wrote(descriptor, written)


def _groups(pieces: Iterable[bytes | memoryview]) -> Iterator[list[memoryview]]:
    """Cut pieces so that none is larger than what is written at a time, and group them for `writev`."""
    group: list[memoryview] = []
    size = 0
    for piece in pieces:
        view = memoryview(piece).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            part = view[start : start + PIECE_BYTES]
            group.append(part)
            size += len(part)
            if size >= PIECE_BYTES or len(group) == MOST_PIECES:
                yield group
                group, size = [], 0
    if group:
        yield group


def _rest(group: list[memoryview], written: int) -> list[memoryview]:
    for position, part in enumerate(group):
        if written < len(part):
            return [part[written:], *group[position + 1 :]]
        written -= len(part)
    return []
