"""BlobService: content-addressed bytes too large to be inline.

Invariant: a blob is stored under the digest we computed, never under one we were told.
"""
# The contract names the methods, and says what they promise.

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import grpc

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import blob_service_pb2_grpc, common_pb2
from taskyard_contract.errors import BlobNotFound, DigestMismatch, InvalidRequest
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_controlplane.domain.namespaces import check_namespace
from taskyard_controlplane.owner.queueing.checks import check_digest, check_size
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.streams import Places
from taskyard_controlplane.settings import MIB, PeerSettings, RpcSettings
from taskyard_controlplane.storage.interface import Reader

MAX_DIGESTS: Final = 1_000  # 32 KB of request, two queries
SPOOL_BYTES: Final = MIB  # what an upload may hold in memory, as many as there are at a time
STORED_AT_A_TIME: Final = 2  # one is being committed, the next is read meanwhile


class Spool:
    """Takes in one blob: hashes it on the way, and keeps it on disk once it is large.

    Of one thread after the other, but for `close`: a thread may be at work on an upload that is cut off.
    """

    def __init__(self, blob: common_pb2.BlobRef, settings: RpcSettings) -> None:
        """Expect a blob.

        Raises:
            InvalidRequest: Its digest is malformed.
            PayloadTooLarge: It is above the limit.
        """
        self.digest = check_digest(blob.digest, "blob.digest")
        self.size = blob.size
        check_size(blob.size, settings.max_payload_bytes, "blob.size")
        self._hash = hashlib.sha256()
        self._received = 0
        self._in_use, self._closed = threading.Lock(), False
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  # closed by close()

    def add(self, part: bytes) -> None:
        """Take the next part.

        Raises:
            InvalidRequest: The part is too large, or goes beyond the announced size.
        """
        if len(part) > PART_BYTES:
            raise InvalidRequest(
                f"a part has {len(part)} bytes; send at most {PART_BYTES}", limit=PART_BYTES, field="part"
            )
        self._received += len(part)
        if self._received > self.size:
            raise InvalidRequest(
                f"the parts have more than the {self.size} bytes that were announced", field="part"
            )
        with self._at_work():
            self._hash.update(part)
            self._file.write(part)

    def content(self) -> bytes:
        """Return everything that was taken in.

        Raises:
            DigestMismatch: It is not what was announced.
        """
        if self._received != self.size:
            raise DigestMismatch(
                f"{self._received} of {self.size} bytes arrived before the end; repeat the upload once"
            )
        if self._hash.digest() != self.digest:
            raise DigestMismatch(
                "the blob does not have the digest it was sent under; repeat the upload once"
            )
        with self._at_work():
            self._file.seek(0)
            return self._file.read()

    def close(self) -> None:
        """Remove the file of what was collected, or leave that to the thread that is at work on it."""
        self._closed = True
        if self._in_use.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._in_use.release()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Hold the file, and remove it at the end if it was to be removed meanwhile."""
        try:
            with self._in_use:
                yield
        finally:
            if self._closed:
                self.close()


class BlobService(blob_service_pb2_grpc.BlobServiceServicer):
    """Implements the service over the owner, which stores, and a reader."""

    def __init__(
        self,
        directory: Directory,
        reader: Reader,
        background: Background,
        settings: RpcSettings,
        peers: PeerSettings,
    ) -> None:
        self._directory = directory
        self._reader = reader
        self._background = background
        self._settings = settings
        self._peers = peers
        self._uploads = Places("uploads", most=peers.max_uploads, per_address=peers.max_uploads_per_address)
        # A blob is held in memory while it is committed; the others wait on disk.
        self._storing = asyncio.Semaphore(STORED_AT_A_TIME)

    async def FindMissingBlobs(
        self, request: pb.FindMissingBlobsRequest, context: Any
    ) -> pb.FindMissingBlobsResponse:
        if len(request.digests) > MAX_DIGESTS:
            raise InvalidRequest(
                f"the request has {len(request.digests)} digests; send at most {MAX_DIGESTS}",
                limit=MAX_DIGESTS,
                field="digests",
            )
        digests = [
            check_digest(digest, f"digests[{position}]") for position, digest in enumerate(request.digests)
        ]
        return pb.FindMissingBlobsResponse(
            missing=await self._background(self._reader.missing_blobs, digests)
        )

    async def UploadBlob(
        self, request_iterator: AsyncIterator[pb.UploadBlobRequest], context: Any
    ) -> pb.UploadBlobResponse:
        async with self._uploads.turn(context.peer(), self._peers.upload_part_seconds):
            return await self._upload(request_iterator, context)

    async def _upload(
        self, requests: AsyncIterator[pb.UploadBlobRequest], context: Any
    ) -> pb.UploadBlobResponse:
        first = await self._next(requests, context)
        if first is None or not first.HasField("blob"):
            raise InvalidRequest("the first message of an upload must carry blob", field="blob")
        check_namespace(first.namespace)
        owner = self._directory.owner()  # asked before the parts come, not after all of them
        spool = Spool(first.blob, self._settings)
        with ExitStack() as stack:
            stack.callback(self._background.soon, spool.close)
            await self._background(spool.add, first.part)
            while (message := await self._next(requests, context)) is not None:
                if not message.part:
                    raise InvalidRequest("a part of the upload is empty", field="part")
                await self._background(spool.add, message.part)
            async with self._storing:
                await owner.put_blob(spool.digest, await self._background(spool.content))
        return pb.UploadBlobResponse(blob=first.blob)

    async def _next(
        self, requests: AsyncIterator[pb.UploadBlobRequest], context: Any
    ) -> pb.UploadBlobRequest | None:
        """Return the next message of an upload, None at its end; without one for long, the call ends."""
        seconds = self._peers.upload_part_seconds
        try:
            async with asyncio.timeout(seconds):
                return await anext(requests, None)
        except TimeoutError:
            text = f"no part of the upload came within {seconds:g} seconds; repeat it"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)
            raise

    async def DownloadBlob(
        self, request: pb.DownloadBlobRequest, context: Any
    ) -> AsyncIterator[pb.DownloadBlobResponse]:
        digest = check_digest(request.digest, "digest")
        size, skipped = 0, request.offset
        async for part in self._directory.body_of_chunk(digest):
            size += len(part)
            for start in range(min(skipped, len(part)), len(part), PART_BYTES):
                yield pb.DownloadBlobResponse(part=part[start : start + PART_BYTES])
            skipped -= min(skipped, len(part))
        if size:
            _check_offset(request.offset, size)
            return
        stored_size = await self._background(self._reader.blob_size, digest)
        if stored_size is None:
            raise BlobNotFound(f"there is no blob {digest.hex()}; it was never uploaded, or was removed")
        _check_offset(request.offset, stored_size)
        parts = self._reader.blob_parts(digest, request.offset)
        while (stored := await self._background(next, parts, None)) is not None:
            yield pb.DownloadBlobResponse(part=stored)


def _check_offset(offset: int, size: int) -> None:
    if offset > size:
        text = f"offset is {offset}, and the blob ends at {size}; was it another one?"
        raise InvalidRequest(text, limit=size, field="offset")
