"""Blobs on their way between the control plane and the workers: a directory of files.

Workers read and write files here and never talk to the server. Where the control plane's own store is a
directory that is seen from here, they use that one, and nothing is on its way at all.
Invariant: what was fetched has its name only when it is complete and its checksum is right.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from grpc import aio

from taskyard_agent.runner.blob_files import is_disk_trouble
from taskyard_api.v1 import common_pb2
from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceStub
from taskyard_contract.blobs.directory import PART_SUFFIX, BlobDirectory
from taskyard_contract.blobs.names import name_of
from taskyard_contract.programs.private_files import create
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.transport.repeating import repeated

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub

logger = logging.getLogger(__name__)

FRESH_SECONDS: Final = 10.0
"""What a worker has just written may be in a report that has not arrived yet, so that nobody names it."""


class BlobStore:
    """The agent's directory of blobs, and the control plane's where that is seen from here."""

    def __init__(self, directory: Path, address: Callable[[], str], capacity: int) -> None:
        """Keep up to about `capacity` bytes in `directory`; `address` names the server to use."""
        self.directory = directory
        self.shared: BlobDirectory | None = None
        """The control plane's store: what is there is not fetched, and what workers write there not sent."""
        self.in_use: Callable[[], Iterable[str]] = tuple
        """Names the blobs that must not be removed."""
        self._own = BlobDirectory(directory)
        self._address = address
        self.capacity = capacity
        """How many bytes it keeps, of what nobody needs at the moment."""
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._own.make()
        self._forget_parts()

    def look_for(self, store: common_pb2.BlobDirectory) -> str:
        """Find out whether the control plane's directory is seen here; returns its path, or nothing."""
        directory = BlobDirectory(Path(store.path)) if store.path else None
        self.shared = directory if directory is not None and directory.is_marked(store.nonce) else None
        return store.path if self.shared is not None else ""

    def path(self, ref: common_pb2.BlobRef) -> Path:
        """Return where a blob is, or would be."""
        name = name_of(ref)
        if self.shared is not None and is_there(self.shared, ref):
            return self.shared.path(name)
        return self._own.path(name)

    def has(self, blobs: Iterable[common_pb2.BlobRef]) -> bool:
        """Whether all of some blobs are here."""
        places = [self._own] if self.shared is None else [self.shared, self._own]
        return all(any(is_there(place, blob) for place in places) for blob in blobs)

    async def fetch(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        """Have some blobs here.

        Raises:
            TaskyardError: One could not be fetched: it is unknown, or the server stayed unreachable.
        """
        for blob in blobs:
            if self.shared is not None and is_there(self.shared, blob):
                continue
            name = name_of(blob)
            if is_there(self._own, blob):
                os.utime(self._own.path(name))
                continue
            self._own.remove(name)  # what a power cut has left of it: here nothing is synced
            task = self._fetching.get(name)
            if task is None:
                task = self._fetching[name] = asyncio.create_task(repeated(partial(self._download, blob)))
                task.add_done_callback(partial(self._fetched, name))
            await asyncio.shield(task)

    def _fetched(self, name: str, task: "asyncio.Task[None]") -> None:
        self._fetching.pop(name, None)
        # Whoever waited has been told; nobody may have.
        _ = task.cancelled() or task.exception()

    async def upload(self, blob: common_pb2.BlobRef) -> None:
        """Store a blob of the directory on the server.

        Raises:
            TaskyardError: The server refuses it, or stayed unreachable.
        """
        await repeated(partial(self._upload, blob))

    async def _download(self, blob: common_pb2.BlobRef) -> None:
        self.make_room()
        try:
            await self._download_once(blob)
        except OSError as error:
            if not is_disk_trouble(error):
                raise
            self.evict()
            await self._download_once(blob)

    async def _download_once(self, blob: common_pb2.BlobRef) -> None:
        async with aio.insecure_channel(target_of(self._address()), options=CLIENT_OPTIONS) as channel:
            stub = cast("BlobServiceAsyncStub", BlobServiceStub(channel))
            # Whatever ends it, the part goes: this process goes on, so nobody else would remove it.
            with self._own.receiving(name_of(blob)) as part, create(part) as file:
                async for data in blob_transfer.receive(stub, blob):
                    file.write(data)

    async def _upload(self, blob: common_pb2.BlobRef) -> None:
        async with aio.insecure_channel(target_of(self._address()), options=CLIENT_OPTIONS) as channel:
            stub = cast("BlobServiceAsyncStub", BlobServiceStub(channel))
            with self.path(blob).open("rb") as file:
                parts = iter(partial(file.read, blob_transfer.SENT_BYTES), b"")
                await blob_transfer.send(stub, blob, parts)
        with suppress(OSError):  # the server has it: what becomes of the file is of no account
            self.make_room()

    def make_room(self) -> None:
        """Remove what has not been used for longest, until the directory is within its capacity."""
        self._shrink(self.capacity, float("inf"))

    def evict(self) -> None:
        """Remove everything that nobody needs, because the disk is full: it may be full of other things."""
        with suppress(OSError):  # a disk that failed may not even tell what is on it
            self._shrink(0, time.time() - FRESH_SECONDS)

    def _shrink(self, capacity: int, before: float) -> None:
        """Remove files that are in no use and were used last before a time, until the rest has a size."""
        files = self._files()
        size = sum(size for _, size, _ in files)
        if size <= capacity:
            return
        needed = set(self.in_use())
        for used_at, length, name in sorted(files):
            if size <= capacity:
                return
            if name not in needed and used_at < before:
                with suppress(OSError):  # a file system that is read-only keeps what it has
                    self._own.remove(name)
                    size -= length

    def _files(self) -> list[tuple[float, int, str]]:
        """Return when each complete file was used last, its size and its name."""
        files = []
        for subdirectory in self.directory.iterdir():
            if not subdirectory.is_dir():
                continue
            with os.scandir(subdirectory) as entries:
                for entry in entries:
                    if entry.name.endswith(PART_SUFFIX):
                        continue
                    with suppress(FileNotFoundError):
                        files.append((entry.stat().st_mtime, entry.stat().st_size, entry.name))
        return files

    def _forget_parts(self) -> None:
        """Remove what an earlier process of this agent did not finish, and what one of release 0.1.0 left."""
        for leftover in (*self.directory.glob(f"*/.*{PART_SUFFIX}"), *self.directory.iterdir()):
            if leftover.is_file():
                leftover.unlink(missing_ok=True)


def is_there(directory: BlobDirectory, blob: common_pb2.BlobRef) -> bool:
    """Whether a directory has a blob, and all of it; nobody may have said how large that is."""
    size = directory.size(name_of(blob))
    return size is not None and blob.size in (0, size)
