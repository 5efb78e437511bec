"""Blobs on their way between the control plane and the workers: a directory of files named by digest.

Workers read and write files here and never talk to the server. Invariant: a file has its final name only
when it is complete and its digest is right.
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
from taskyard_contract.programs.private_files import close_to_others, create, make_directory
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.transport.repeating import repeated

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub

logger = logging.getLogger(__name__)

PART_SUFFIX: Final = ".part"
"""Of a file that is not complete: ``DIGEST.PID.part``, the process that writes it in its name."""

FRESH_SECONDS: Final = 10.0
"""What a worker has just written may be in a report that has not arrived yet, so that nobody names it."""


class BlobStore:
    """The agent's directory of blobs."""

    def __init__(self, directory: Path, address: Callable[[], str], capacity: int) -> None:
        """Keep up to about `capacity` bytes in `directory`; `address` names the server to use."""
        self.directory = directory
        self.in_use: Callable[[], Iterable[bytes]] = tuple
        """Names the blobs that must not be removed."""
        self.writers: Callable[[], Iterable[int]] = tuple
        """Names the processes, other than this one, that may be writing a file at this moment."""
        self._address = address
        self._capacity = capacity
        self._fetching: dict[bytes, asyncio.Task[None]] = {}
        make_directory(directory)
        close_to_others(directory)
        for leftover in directory.glob(f"*{PART_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    def path(self, digest: bytes) -> Path:
        """Return where a blob is, or would be."""
        return self.directory / digest.hex()

    def has(self, digests: Iterable[bytes]) -> bool:
        """Whether all of some blobs are here."""
        return all(self.path(digest).exists() for digest in digests)

    async def fetch(self, digests: Iterable[bytes]) -> None:
        """Have some blobs in the directory.

        Raises:
            TaskyardError: One could not be fetched: it is unknown, or the server stayed unreachable.
        """
        for digest in digests:
            path = self.path(digest)
            if path.exists():
                os.utime(path)
                continue
            task = self._fetching.get(digest)
            if task is None:
                task = self._fetching[digest] = asyncio.create_task(repeated(partial(self._download, digest)))
                task.add_done_callback(partial(self._fetched, digest))
            await asyncio.shield(task)

    def _fetched(self, digest: bytes, task: "asyncio.Task[None]") -> None:
        self._fetching.pop(digest, None)
        # Whoever waited has been told; nobody may have.
        _ = task.cancelled() or task.exception()

    async def upload(self, blob: common_pb2.BlobRef) -> None:
        """Store a blob of the directory on the server.

        Raises:
            TaskyardError: The server refuses it, or stayed unreachable.
        """
        await repeated(partial(self._upload, blob))

    async def _download(self, digest: bytes) -> None:
        self.make_room()
        try:
            await self._download_once(digest)
        except OSError as error:
            if not is_disk_trouble(error):
                raise
            self.evict()
            await self._download_once(digest)

    async def _download_once(self, digest: bytes) -> None:
        path = self.path(digest)
        partial = path.with_name(f"{path.name}.{os.getpid()}{PART_SUFFIX}")
        async with aio.insecure_channel(target_of(self._address()), options=CLIENT_OPTIONS) as channel:
            stub = cast("BlobServiceAsyncStub", BlobServiceStub(channel))
            with create(partial) as file:
                try:
                    async for part in blob_transfer.receive(stub, digest):
                        file.write(part)
                except BaseException:  # cancelled as well: this process goes on, so nobody else removes it
                    partial.unlink(missing_ok=True)
                    raise
        partial.rename(path)

    async def _upload(self, blob: common_pb2.BlobRef) -> None:
        async with aio.insecure_channel(target_of(self._address()), options=CLIENT_OPTIONS) as channel:
            stub = cast("BlobServiceAsyncStub", BlobServiceStub(channel))
            with self.path(blob.digest).open("rb") as file:
                await blob_transfer.send(stub, blob, file)
        with suppress(OSError):  # the server has it: what becomes of the file is of no account
            self.make_room()

    def make_room(self) -> None:
        """Remove what has not been used for longest, until the directory is within its capacity."""
        self._shrink(self._capacity, float("inf"))

    def evict(self) -> None:
        """Remove everything that nobody needs, because the disk is full: it may be full of other things."""
        with suppress(OSError):  # a disk that failed may not even tell what is on it
            self._shrink(0, time.time() - FRESH_SECONDS)

    def forget_writer(self, pid: int) -> None:
        """Remove what a process was writing that has ended."""
        with suppress(OSError):
            for unfinished in self.directory.glob(f"*.{pid}{PART_SUFFIX}"):
                unfinished.unlink(missing_ok=True)

    def _shrink(self, capacity: int, before: float) -> None:
        """Remove files that are in no use and were used last before a time, until the rest has a size."""
        files = self._files()
        size = sum(size for _, size, _ in files)
        if size <= capacity:
            return
        needed = {digest.hex() for digest in self.in_use()}
        for used_at, length, name in sorted(files):
            if size <= capacity:
                return
            if name not in needed and used_at < before:
                with suppress(OSError):  # a file system that is read-only keeps what it has
                    self.directory.joinpath(name).unlink(missing_ok=True)
                    size -= length

    def _files(self) -> list[tuple[float, int, str]]:
        """Return when each complete file was used last, its size and its name; removes what was abandoned."""
        writers = {str(pid) for pid in (os.getpid(), *self.writers())}
        files = []
        with os.scandir(self.directory) as entries:
            for entry in entries:
                path = self.directory / entry.name
                if entry.name.endswith(PART_SUFFIX):
                    if entry.name.split(".")[1] not in writers:
                        path.unlink(missing_ok=True)  # its writer was killed: nobody will ever finish it
                    continue
                with suppress(FileNotFoundError):  # a worker has finished and renamed it meanwhile
                    files.append((entry.stat().st_mtime, entry.stat().st_size, entry.name))
        return files
