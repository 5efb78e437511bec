"""The agent's directory of unpacked bundles: one directory for each, and beside it what workers read of it.

Whoever has runs of a program waits here until its bundle is unpacked, which happens once, in a thread. What
has not been used for longest goes when all together are too large, but never what a worker may still import
from.
Invariant: what `has` says is there stays while it is in use.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from taskyard_agent.holding import unpacking
from taskyard_agent.holding.blob_store import BlobStore
from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.programs.private_files import close_to_others, make_directory
from taskyard_contract.world import facts

CAPACITY: Final = 1024**3
_SUFFIX: Final = ".json"


class UnpackedBundles:
    """Bundles as directories."""

    def __init__(self, directory: Path, blobs: BlobStore, capacity: int = CAPACITY) -> None:
        """Keep up to about `capacity` bytes in `directory`, of what `blobs` fetches."""
        self.in_use: Callable[[], Iterable[bytes]] = tuple
        """Names the bundles that must not be removed."""
        self._directory = directory
        self._blobs = blobs
        self._capacity = capacity
        self._sizes: dict[bytes, int] = {}  # of those that are ready; the least recently used one first
        self._coming: dict[bytes, asyncio.Task[None]] = {}
        self._beginning: asyncio.Task[None] | None = None

    def has(self, digest: bytes) -> bool:
        """Say whether a bundle is ready to be used."""
        return digest in self._sizes

    def file(self, digest: bytes) -> str:
        """Return what workers read to enter the world of a bundle; it is there when the bundle is."""
        return str(self._path(digest).with_suffix(_SUFFIX))

    async def prepare(self, digest: bytes) -> None:
        """Have a bundle ready.

        Raises:
            TaskyardError: It cannot be fetched, or not be unpacked.
            OSError: The disk does not take it.
        """
        size = self._sizes.pop(digest, None)
        if size is not None:
            self._sizes[digest] = size  # used last
            with suppress(OSError):
                os.utime(self._path(digest))
            return
        task = self._coming.get(digest)
        if task is None:
            task = self._coming[digest] = asyncio.create_task(self._prepare(digest))
            task.add_done_callback(partial(self._prepared, digest))
        await asyncio.shield(task)

    def evict(self) -> None:
        """Remove everything that nobody uses, because the disk is full."""
        used = set(self.in_use())
        for digest in [one for one in self._sizes if one not in used]:
            del self._sizes[digest]
            self._path(digest).with_suffix(_SUFFIX).unlink(missing_ok=True)
            shutil.rmtree(self._path(digest), ignore_errors=True)

    def _prepared(self, digest: bytes, task: "asyncio.Task[None]") -> None:
        self._coming.pop(digest, None)
        # Whoever waited has been told; nobody may have.
        _ = task.cancelled() or task.exception()

    async def _prepare(self, digest: bytes) -> None:
        if self._beginning is None:
            self._beginning = asyncio.create_task(asyncio.to_thread(self._begin))
        await asyncio.shield(self._beginning)
        if digest in self._sizes:
            return
        await self._blobs.fetch([common_pb2.BlobRef(digest=digest)])
        self._sizes[digest] = await asyncio.to_thread(self._unpack, digest)
        await self._make_room(digest)

    def _begin(self) -> None:
        """Take over what the last process of this agent has unpacked."""
        make_directory(self._directory)
        close_to_others(self._directory)
        for leftover in self._directory.glob(f"*{unpacking.PART_SUFFIX}"):
            shutil.rmtree(leftover, ignore_errors=True)
        found = [path for path in self._directory.iterdir() if path.is_dir()]
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            try:
                self._describe(path)
                self._sizes[bytes.fromhex(path.name)] = _size_of(path)
            except (OSError, TaskyardError, ValueError):
                shutil.rmtree(path, ignore_errors=True)

    def _unpack(self, digest: bytes) -> int:
        path = self._path(digest)
        size = unpacking.unpack(self._blobs.path(common_pb2.BlobRef(digest=digest)), path)
        try:
            self._describe(path)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return size

    def _describe(self, path: Path) -> None:
        facts.write(path.with_suffix(_SUFFIX), unpacking.facts_of(path))

    async def _make_room(self, newest: bytes) -> None:
        total = sum(self._sizes.values())
        used = {newest, *self.in_use()}
        removed = []
        for digest in [one for one in self._sizes if one not in used]:
            if total <= self._capacity:
                break
            total -= self._sizes.pop(digest)
            path = self._path(digest)
            removed.append(path.with_suffix(unpacking.PART_SUFFIX))
            with suppress(OSError):
                os.replace(path, removed[-1])  # it may be wanted again before it is removed
                path.with_suffix(_SUFFIX).unlink()
        for path in removed:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    def _path(self, digest: bytes) -> Path:
        return self._directory / digest.hex()


def _size_of(directory: Path) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return 0
