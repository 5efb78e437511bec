"""BlobService: bytes too large to be inline, to the store of blobs and from it.

Invariant: what is stored under the name of a content was checked here, whatever was said of it; and bytes
never pass the event loop but as the parts they come in.
"""
# The contract names the methods, and says what they promise.

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, nullcontext
from typing import Any, Final

import grpc

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import blob_service_pb2_grpc
from taskyard_contract.blobs.names import check_blob_name, check_stored_name, name_of, sha256_name
from taskyard_contract.errors import BlobNotFound, DigestMismatch, InvalidRequest
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_controlplane.blobs.interface import BlobStore, Incoming
from taskyard_controlplane.domain.namespaces import check_namespace
from taskyard_controlplane.owner.queueing.checks import check_digest, check_size
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.giving_way import GivingWay
from taskyard_controlplane.rpc.streams import Places
from taskyard_controlplane.settings import PeerSettings, RpcSettings
from taskyard_controlplane.storage.interface import Reader
from taskyard_controlplane.transfers.answering import GrantedTransfers
from taskyard_controlplane.transfers.granting import Granting

MAX_DIGESTS: Final = 1_000  # 32 KB of request, two queries
QUICK_BYTES: Final = 32 * 1024 * 1024
"""Uploads that are larger give way to whatever else is done."""
GATHERED_BYTES: Final = 1024 * 1024
"""Parts are handed to a thread together: going there and back costs as much as writing 100 KB."""
GATHERED_PARTS: Final = 256
"""Nor more than so many, however small: each takes some memory of its own."""


class BlobService(blob_service_pb2_grpc.BlobServiceServicer):
    """Implements the service over the owner, which stores, and a reader."""

    def __init__(
        self,
        directory: Directory,
        reader: Reader,
        background: Background,
        store: BlobStore,
        writing: Background,
        settings: RpcSettings,
        peers: PeerSettings,
        granting: Granting | None = None,
    ) -> None:
        """Serve blobs of `store`, and of the database those that came inside other messages.

        Args:
            directory: Knows the owner, who removes blobs.
            reader: The database.
            background: Where it is read.
            store: Where blobs are.
            writing: Where these are written and read.
            settings: Limits.
            peers: What one peer may take up.
            granting: Ways past this process; without it there are none.
        """
        self._directory = directory
        self._reader = reader
        self._background = background
        self._store = store
        self._writing = writing
        self._settings = settings
        self._peers = peers
        self._way = GivingWay(directory.served)
        self._uploads = Places(
            "uploads",
            most=min(peers.max_uploads, store.most_uploads),
            per_address=peers.max_uploads_per_address,
        )

        self._granted = GrantedTransfers(
            lambda: directory.owner().shard.leaving,
            granting or Granting([]),
            writing,
            settings.max_payload_bytes,
        )

    async def GrantTransfers(
        self, request: pb.GrantTransfersRequest, context: Any
    ) -> pb.GrantTransfersResponse:
        return await self._granted.grant(request)

    async def FindMissingBlobs(
        self, request: pb.FindMissingBlobsRequest, context: Any
    ) -> pb.FindMissingBlobsResponse:
        count = len(request.digests) + len(request.names)
        if count > MAX_DIGESTS:
            raise InvalidRequest(
                f"the request has {count} digests and names; send at most {MAX_DIGESTS}",
                limit=MAX_DIGESTS,
                field="digests",
            )
        digests = [
            check_digest(digest, f"digests[{position}]") for position, digest in enumerate(request.digests)
        ]
        names = [check_blob_name(name, f"names[{at}]") for at, name in enumerate(request.names)]
        missing = await self._missing([*map(sha256_name, digests), *names])
        unknown = [digest for digest in digests if sha256_name(digest) in missing]
        if unknown:  # those of earlier releases, and code, are in the database
            unknown = await self._background(self._reader.missing_blobs, unknown)
        return pb.FindMissingBlobsResponse(
            missing=unknown, missing_names=[name for name in names if name in missing]
        )

    async def _missing(self, names: list[str]) -> set[str]:
        """Return which blobs have to be stored; the others are not removed for a while."""
        leaving = self._directory.owner().shard.leaving
        removals = leaving.removals
        missing: set[str] = await self._writing(self._store.missing, names)
        there = [name for name in names if name not in missing]
        missing |= leaving.told(there)
        if leaving.removals != removals:  # one of them may have gone before it was noted
            missing |= await self._writing(self._store.missing, there)
        return missing

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
        blob, settings = first.blob, self._settings
        if blob.name:
            check_stored_name(blob.name, "blob.name")
        else:
            check_digest(blob.digest, "blob.digest")
        check_size(blob.size, settings.max_payload_bytes, "blob.size")
        leaving = self._directory.owner().shard.leaving  # asked before the parts come, not after all of them
        name = name_of(blob)
        while leaving.told([name]):
            await leaving.gone(name)
        incoming = self._store.receive(blob)
        with ExitStack() as stack:
            stack.callback(self._writing.soon, incoming.discard)
            await self._take(incoming, blob.size, first, requests, context)
            await self._writing(incoming.finish)
        return pb.UploadBlobResponse(blob=blob)

    async def _take(
        self,
        incoming: Incoming,
        size: int,
        message: pb.UploadBlobRequest | None,
        requests: AsyncIterator[pb.UploadBlobRequest],
        context: Any,
    ) -> None:
        """Write the parts of an upload, several at a time."""
        received, held, gathered = 0, 0, list[bytes]()
        first = True
        while message is not None:
            part = message.part
            received += len(part)
            if not (part or first):
                raise InvalidRequest("a part of the upload is empty", field="part")
            _check_part(len(part), received, size)
            gathered.append(part)
            held += len(part)
            if held >= GATHERED_BYTES or len(gathered) == GATHERED_PARTS:
                await self._write(incoming, gathered, size)
                held, gathered = 0, []
            first, message = False, await self._next(requests, context)
        if received != size:
            raise DigestMismatch(f"{received} of {size} bytes arrived before the end; repeat the upload once")
        await self._write(incoming, gathered, size)

    async def _write(self, incoming: Incoming, parts: list[bytes], size: int) -> None:
        # Who waits for a network, or is done in a moment, holds up nobody, and should not be held up.
        in_turn = size > QUICK_BYTES and self._store.directory is not None
        async with self._way.turn() if in_turn else nullcontext():
            await self._writing(_write_all, incoming, parts)

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
        if request.name:
            name, digest = check_blob_name(request.name, "name"), b""
        else:
            digest = check_digest(request.digest, "digest")
            name = sha256_name(digest)
        async for part in self._stored(name, digest, request.offset):
            yield pb.DownloadBlobResponse(part=part)

    async def _stored(self, name: str, digest: bytes, offset: int) -> AsyncIterator[bytes]:
        """Iterate over a blob of the store, or of the database."""
        background = self._writing
        size = await background(self._store.size, name)
        parts = self._store.read(name, offset)
        if size is None and digest:
            background = self._background
            size = await background(self._reader.blob_size, digest)
            parts = self._reader.blob_parts(digest, offset)
        if size is None:
            raise BlobNotFound(f"there is no blob {name}; it was never uploaded, or was removed")
        _check_offset(offset, size)
        while (part := await background(next, parts, None)) is not None:
            yield part


def _write_all(incoming: Incoming, parts: list[bytes]) -> None:
    """Write parts as they came: put together first, they would be copied twice."""
    for part in parts or (b"",):
        incoming.write(part)


def _check_part(size: int, received: int, expected: int) -> None:
    if size > PART_BYTES:
        text = f"a part has {size} bytes; send at most {PART_BYTES}"
        raise InvalidRequest(text, limit=PART_BYTES, field="part")
    if received > expected:
        text = f"the parts have more than the {expected} bytes that were announced"
        raise InvalidRequest(text, field="part")


def _check_offset(offset: int, size: int) -> None:
    if offset > size:
        text = f"offset is {offset}, and the blob ends at {size}; was it another one?"
        raise InvalidRequest(text, limit=size, field="offset")
