"""Blobs in parts, to the control plane and back.

How a transfer goes: an upload is one stream of messages, the first of which says what follows and brings the
first part with it, so that a small blob is one message; the server checks what comes and stores it when the
stream ends with what was announced. A download is a stream of parts, checked as they come. Both may be
repeated from the start at any time: a name stands for one content, so storing it again changes nothing.
Invariant: whoever has read all parts without an exception has what the name stands for.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import xxhash

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import name_of
from taskyard_contract.errors import DigestMismatch

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub

SENT_BYTES: Final = 256 * 1024
"""Of one message: larger ones hold up whatever else their connection carries, and are no faster."""

DIRECT_BYTES: Final = 1024 * 1024
"""Smaller blobs are there this way before it is known whether there is one past the control plane."""


def ref_of(data: bytes) -> common_pb2.BlobRef:
    """Name a blob by the SHA-256 of its content, as programs in all languages can."""
    return common_pb2.BlobRef(digest=hashlib.sha256(data).digest(), size=len(data))


async def send(
    stub: "BlobServiceAsyncStub",
    ref: common_pb2.BlobRef,
    pieces: Iterable[bytes | memoryview],
    *,
    timeout: float | None = None,
) -> None:
    """Store a blob, whether or not it is stored already.

    Args:
        stub: The blob service.
        ref: What `pieces` are together.
        pieces: The content, in order; taken while it is sent.
        timeout: Seconds for all of it.

    Raises:
        OSError: A piece cannot be read.
    """
    import asyncio  # programs that only import the SDK need no loop

    unread: list[Exception] = []
    try:
        await stub.UploadBlob(_messages(ref, _cut(pieces), unread), timeout=timeout)
    except asyncio.CancelledError:
        # gRPC cancels a call whose messages cannot be made, and keeps the reason to itself. Nobody has
        # cancelled the caller then, and it must not look so.
        task = asyncio.current_task()
        if not unread or (task is not None and task.cancelling()):
            raise
        raise unread[0] from None


async def receive(
    stub: "BlobServiceAsyncStub", ref: common_pb2.BlobRef, *, timeout: float | None = None
) -> AsyncIterator[bytes]:
    """Read a blob part by part.

    Raises:
        DigestMismatch: What came is not what was stored; said after the last part.
    """
    seen, expected = check_of(ref)
    request = pb.DownloadBlobRequest(digest=ref.digest, name=ref.name)
    async for message in stub.DownloadBlob(request, timeout=timeout):
        seen.update(message.part)
        yield message.part
    if seen.digest() != expected:
        raise DigestMismatch(f"blob {name_of(ref)} arrived damaged; read it again")


def check_of(ref: common_pb2.BlobRef) -> "tuple[hashlib._Hash | xxhash.xxh3_64, bytes]":
    """Return what computes the check of a blob, and what it has to come to."""
    if ref.name:
        return xxhash.xxh3_64(), ref.checksum.to_bytes(8, "big")
    return hashlib.sha256(), ref.digest


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


def _cut(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), SENT_BYTES):
            yield bytes(view[start : start + SENT_BYTES])
