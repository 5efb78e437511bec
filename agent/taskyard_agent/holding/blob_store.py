"""Blobs on their way between the control plane and the workers: a directory of files.

Workers read and write files here and never talk to the server. Where the control plane's own store is a
directory that is seen from here, they use that one, and nothing is on its way at all.
Invariant: what was fetched has its name only when it is complete and its checksum is right.
"""

import asyncio
import logging
import mmap
import os
import time
from collections import OrderedDict, deque
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
from taskyard_contract.blobs.names import is_inputs, is_result, name_of
from taskyard_contract.errors import BlobNotFound, DigestMismatch, StorageFull
from taskyard_contract.programs.private_files import create
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.transport.direct_fetch import FileTarget
from taskyard_contract.transport.direct_store import FileSource
from taskyard_contract.transport.direct_transfers import DirectTransfers
from taskyard_contract.transport.repeating import UPLOADING, repeated
from taskyard_contract.values.bodies import blobs_in

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub

logger = logging.getLogger(__name__)

UPLOAD_PATIENCE_SECONDS: Final = 600.0
"""So long a result waits for a store that is full, or does not answer: what was executed is not thrown away
for that, and its run would hardly end better elsewhere."""
LARGE_BYTES: Final = 256 * 1024
"""From here on it shows how long a blob is on its way."""
MOST_AT_ONCE: Final = 4
"""Large blobs that come at the same time. More of them would only have each come later: so the first runs
start while what the next ones need is on its way. As many of any size come for one chunk."""
LOOK_SECONDS: Final = 60.0
"""Between two looks at all files, unless they seem to be too many: that takes 20 ms and more, and some come
that nobody tells of, because their worker was killed."""
FRESH_SECONDS: Final = 10.0
"""What a worker has just written may be in a report that has not arrived yet, so that nobody names it."""
_REMEMBERED: Final = 10_000


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
        self._direct = DirectTransfers(address)
        self._address = address
        self.capacity = capacity
        """How many bytes it keeps, of what nobody needs at the moment."""
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        """Values that the control plane had no more, or not as they were, when they were last asked for."""
        self._size = 0
        """How many bytes there are: what was found at the last look, and what came and went since."""
        self._looked_at = float("-inf")
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
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
        """Whether all of some blobs are here that can be."""
        places = [self._own] if self.shared is None else [self.shared, self._own]
        return all(
            any(is_there(place, blob) for place in places) or blob.name in self._gone for blob in blobs
        )

    async def fetch(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        """Have some blobs here; a value that is gone, or damaged where it is stored, is left out.

        Inputs of a run that are gone are not: the run is over, or is assigned again with others. Of many
        runs that come together few may need that one: they find out themselves.

        Raises:
            TaskyardError: One could not be fetched: it is unknown, or the server stayed unreachable.
        """
        coming: deque[tuple[common_pb2.BlobRef, asyncio.Task[None]]] = deque()
        for blob in blobs:
            if (task := self._fetch(blob)) is not None:
                coming.append((blob, task))
            if len(coming) >= MOST_AT_ONCE:
                await self._come(*coming.popleft())
        for each in coming:
            await self._come(*each)

    async def further(self, body: common_pb2.BlobRef) -> list[common_pb2.BlobRef]:
        """Return the blobs that the body of a chunk names, which is here, as far as they have to be fetched.

        Raises:
            OSError: It is not here any more.
            ValueError: It is no body of a chunk.
        """
        if self.shared is not None:
            return []  # results are written there, or have been sent there
        return await asyncio.to_thread(_blobs_in, self.path(body))

    async def _come(self, blob: common_pb2.BlobRef, task: "asyncio.Task[None]") -> None:
        """Wait until a blob is here, or it is known that there is none."""
        name = name_of(blob)
        try:
            await asyncio.shield(task)
        except (BlobNotFound, DigestMismatch):
            if not blob.name or is_inputs(name):  # it can be had once more: the run is assigned again
                raise
            self._note_gone(name)
        else:
            self._gone.pop(name, None)

    def ask_again(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        """Take no blob for gone that a new run names: somebody may have stored it since."""
        for blob in blobs:
            self._gone.pop(blob.name, None)

    def _note_gone(self, name: str) -> None:
        self._gone[name] = None
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)

    def _fetch(self, blob: common_pb2.BlobRef) -> "asyncio.Task[None] | None":
        """Begin to fetch a blob, unless that is being done; None when it is here."""
        name = name_of(blob)
        if self.shared is not None and is_there(self.shared, blob):
            return None
        if is_there(self._own, blob):
            os.utime(self._own.path(name))
            return None
        self._own.remove(name)  # what a power cut has left of it: here nothing is synced
        task = self._fetching.get(name)
        if task is None:
            task = self._fetching[name] = asyncio.create_task(repeated(partial(self._download, blob)))
            task.add_done_callback(partial(self._fetched, name))
        return task

    def _fetched(self, name: str, task: "asyncio.Task[None]") -> None:
        self._fetching.pop(name, None)
        # Whoever waited has been told; nobody may have.
        _ = task.cancelled() or task.exception()

    async def upload(self, blob: common_pb2.BlobRef) -> None:
        """Store a blob of the directory on the server.

        Raises:
            TaskyardError: The server refuses it, or stayed unreachable.
        """
        await repeated(
            partial(self._upload, blob),
            passing=(*UPLOADING, StorageFull),
            patience=UPLOAD_PATIENCE_SECONDS,
            failing=lambda why: logger.warning(
                "a result of %d bytes is not taken by the store and waits: %s", blob.size, why
            ),
        )

    async def _download(self, blob: common_pb2.BlobRef) -> None:
        if blob.size < LARGE_BYTES:  # code, for example, behind which many runs may wait
            await self._download_now(blob)
        else:
            async with self._places:
                await self._download_now(blob)

    async def _download_now(self, blob: common_pb2.BlobRef) -> None:
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
            with self._own.receiving(name_of(blob)) as part:
                with FileTarget(part, blob.size) as target:
                    is_here = await self._direct.fetch(stub, blob, target)
                if not is_here:
                    with create(part) as file:
                        async for data in blob_transfer.receive(stub, blob):
                            file.write(data)
        self._size += blob.size

    async def _upload(self, blob: common_pb2.BlobRef) -> None:
        async with aio.insecure_channel(target_of(self._address()), options=CLIENT_OPTIONS) as channel:
            stub = cast("BlobServiceAsyncStub", BlobServiceStub(channel))
            if not await self._direct.store(stub, blob, FileSource(self.path(blob))):
                with self.path(blob).open("rb") as file:
                    parts = iter(partial(file.read, blob_transfer.SENT_BYTES), b"")
                    await blob_transfer.send(stub, blob, parts)
        self._size += blob.size
        with suppress(OSError):  # the server has it: what becomes of the file is of no account
            self.make_room(name_of(blob))

    def make_room(self, sent: str = "") -> None:
        """Remove what has not been used for longest, until the directory is within its capacity.

        Results stay while their reports may be on the way, except one that was `sent`.
        """
        now = time.monotonic()
        if self._size > self.capacity or now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._shrink(self.capacity, float("inf"), sent)

    def evict(self) -> None:
        """Remove everything that nobody needs, because the disk is full: it may be full of other things."""
        with suppress(OSError):  # a disk that failed may not even tell what is on it
            self._shrink(0, time.time() - FRESH_SECONDS)

    def _shrink(self, capacity: int, before: float, sent: str = "") -> None:
        """Remove files that are in no use and were used last before a time, until the rest has a size."""
        fresh = time.time() - FRESH_SECONDS
        files = self._files()
        self._size = sum(size for _, size, _ in files)
        if self._size <= capacity:
            return
        needed = set(self.in_use())
        for used_at, length, name in sorted(files):
            if self._size <= capacity:
                return
            if is_result(name) and used_at >= fresh and name != sent:
                continue
            if name not in needed and used_at < before:
                with suppress(OSError):  # a file system that is read-only keeps what it has
                    self._own.remove(name)
                    self._size -= length

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


def _blobs_in(path: Path) -> list[common_pb2.BlobRef]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping,
        memoryview(mapping) as view,
    ):
        return blobs_in(view)


def is_there(directory: BlobDirectory, blob: common_pb2.BlobRef) -> bool:
    """Whether a directory has a blob, and all of it; nobody may have said how large that is."""
    size = directory.size(name_of(blob))
    return size is not None and blob.size in (0, size)
