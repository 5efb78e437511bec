"""Blobs in parts, to the control plane and back.

How a transfer goes: an upload is one stream of messages, the first of which says what follows and brings the
first part with it, so that a small blob is one message; the server hashes what comes and stores it when the
stream ends with the announced digest. A download is a stream of parts, hashed as they come. Both may be
repeated from the start at any time: content has no other name than its digest, so storing it again changes
nothing. Invariant: whoever has read all parts without an exception has what the digest stands for.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import DigestMismatch
from taskyard_contract.payload_limits import PART_BYTES

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub


def ref_of(data: bytes) -> common_pb2.BlobRef:
    """Name a blob by its content."""
    return common_pb2.BlobRef(digest=hashlib.sha256(data).digest(), size=len(data))


async def send(
    stub: "BlobServiceAsyncStub",
    ref: common_pb2.BlobRef,
    content: bytes | BinaryIO,
    *,
    timeout: float | None = None,
) -> None:
    """Store a blob, whether or not it is stored already.

    Args:
        stub: The blob service.
        ref: What `content` is.
        content: The bytes, or a file that is read while it is sent.
        timeout: Seconds for all of it.

    Raises:
        OSError: The file cannot be read.
    """
    import asyncio  # programs that only import the SDK need no loop

    parts = _cut(content) if isinstance(content, bytes) else iter(lambda: content.read(PART_BYTES), b"")
    unread: list[Exception] = []
    try:
        await stub.UploadBlob(_messages(ref, parts, unread), timeout=timeout)
    except asyncio.CancelledError:
        # gRPC cancels a call whose messages cannot be made, and keeps the reason to itself. Nobody has
        # cancelled the caller then, and it must not look so.
        task = asyncio.current_task()
        if not unread or (task is not None and task.cancelling()):
            raise
        raise unread[0] from None


async def receive(
    stub: "BlobServiceAsyncStub", digest: bytes, *, timeout: float | None = None
) -> AsyncIterator[bytes]:
    """Read a blob part by part.

    Raises:
        DigestMismatch: What came is not what was stored; said after the last part.
    """
    seen = hashlib.sha256()
    async for message in stub.DownloadBlob(pb.DownloadBlobRequest(digest=digest), timeout=timeout):
        seen.update(message.part)
        yield message.part
    if seen.digest() != digest:
        raise DigestMismatch(f"blob {digest.hex()} arrived damaged; read it again")


async def _messages(
    ref: common_pb2.BlobRef, parts: Iterable[bytes], unread: list[Exception]
) -> AsyncIterator[pb.UploadBlobRequest]:
    first = True
    try:
        for part in parts:
            yield pb.UploadBlobRequest(blob=ref if first else None, part=part)
            first = False
    except Exception as error:
        unread.append(error)
        raise
    if first:  # an empty blob
        yield pb.UploadBlobRequest(blob=ref)


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES))
