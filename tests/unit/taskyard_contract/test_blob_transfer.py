"""Blobs travel in parts and are what their digest says, or are refused."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_contract.errors import (
    BlobNotFound,
    ConnectionFailed,
    DigestMismatch,
    NotOwner,
    ServerStopping,
    TaskyardError,
)
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_contract.transport import blob_transfer


class Service:
    """Keeps what is sent, and sends what it is given."""

    def __init__(self, parts: Sequence[bytes] = ()) -> None:
        self.sent: list[pb.UploadBlobRequest] = []
        self.timeouts: list[float | None] = []
        self._parts = parts

    async def UploadBlob(self, messages: Any, timeout: Any) -> None:  # noqa: N802
        self.timeouts.append(timeout)
        async for message in messages:
            self.sent.append(message)

    async def DownloadBlob(  # noqa: N802
        self, request: Any, timeout: Any
    ) -> AsyncIterator[pb.DownloadBlobResponse]:
        self.timeouts.append(timeout)
        for part in self._parts:
            yield pb.DownloadBlobResponse(part=part)


def received(parts: Sequence[bytes], digest: bytes, seen: list[bytes]) -> None:
    async def receive() -> None:
        stub: Any = Service(parts)
        async for part in blob_transfer.receive(stub, digest, timeout=2.0):
            seen.append(part)

    asyncio.run(receive())


SIZES = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("as_file", [False, True])
def test_an_upload_is_cut_into_parts(size: int, as_file: bool) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    service: Any = Service()
    ref = blob_transfer.ref_of(data)
    assert (ref.digest, ref.size) == (hashlib.sha256(data).digest(), size)
    asyncio.run(blob_transfer.send(service, ref, io.BytesIO(data) if as_file else data, timeout=3.0))
    assert b"".join(message.part for message in service.sent) == data
    assert [message.HasField("blob") for message in service.sent] == [True] + [False] * (
        max(1, -(-size // PART_BYTES)) - 1
    )
    assert service.sent[0].blob == ref
    assert all(len(message.part) <= PART_BYTES for message in service.sent)
    assert service.timeouts == [3.0]


def test_a_download_comes_in_parts_as_they_arrive() -> None:
    seen: list[bytes] = []
    received([b"one", b"two"], hashlib.sha256(b"onetwo").digest(), seen)
    assert seen == [b"one", b"two"]


@pytest.mark.parametrize("parts", [[b"one", b"too"], [b"one"], []])
def test_a_download_that_is_not_what_was_stored_ends_in_an_error(parts: list[bytes]) -> None:
    seen: list[bytes] = []
    with pytest.raises(DigestMismatch, match="arrived damaged"):
        received(parts, hashlib.sha256(b"onetwo").digest(), seen)
    assert seen == parts


class Attempts:
    """A transfer that fails of one thing after the other, and then succeeds."""

    def __init__(self, *failures: TaskyardError) -> None:
        self.left = list(failures)

    async def __call__(self) -> str:
        if self.left:
            raise self.left.pop(0)
        return "transferred"


def test_a_transfer_is_repeated_while_a_server_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_transfer, "REPEAT_SECONDS", (0.0,) * 3)
    passing = Attempts(ServerStopping("stopping"), ConnectionFailed("nobody there"), NotOwner("not yet"))
    assert asyncio.run(blob_transfer.repeated(passing)) == "transferred"


def test_a_transfer_that_is_refused_or_always_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_transfer, "REPEAT_SECONDS", (0.0,) * 3)
    refused = Attempts(BlobNotFound("no such blob"), BlobNotFound("asked again"))
    with pytest.raises(BlobNotFound, match="no such blob"):
        asyncio.run(blob_transfer.repeated(refused))
    unreachable = Attempts(*(ConnectionFailed(f"attempt {number}") for number in range(1, 6)))
    with pytest.raises(ConnectionFailed, match="attempt 4"):
        asyncio.run(blob_transfer.repeated(unreachable))
    assert len(unreachable.left) == 1
