"""Blobs travel in parts and are what their digest says, or are refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import checksum_of, result_name
from taskyard_contract.errors import DigestMismatch
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.blob_transfer import SENT_BYTES


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


def received(parts: Sequence[bytes], ref: common_pb2.BlobRef, seen: list[bytes]) -> None:
    async def receive() -> None:
        stub: Any = Service(parts)
        async for part in blob_transfer.receive(stub, ref, timeout=2.0):
            seen.append(part)

    asyncio.run(receive())


BY_NAME = common_pb2.BlobRef(name=result_name(bytes(16), 1), size=6, checksum=checksum_of([b"onetwo"]))
SIZES = [0, 1, SENT_BYTES - 1, SENT_BYTES, SENT_BYTES + 1, 3 * SENT_BYTES]


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_is_cut_into_parts(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    service: Any = Service()
    ref = blob_transfer.ref_of(data)
    assert (ref.digest, ref.size) == (hashlib.sha256(data).digest(), size)
    asyncio.run(blob_transfer.send(service, ref, [data], timeout=3.0))
    assert b"".join(message.part for message in service.sent) == data
    assert [message.HasField("blob") for message in service.sent] == [True] + [False] * (
        max(1, -(-size // SENT_BYTES)) - 1
    )
    assert service.sent[0].blob == ref
    assert all(len(message.part) <= SENT_BYTES <= PART_BYTES for message in service.sent)
    assert service.timeouts == [3.0]


def test_the_pieces_of_a_value_are_one_upload_of_what_they_are_together() -> None:
    service: Any = Service()
    pieces = [b"a" * 10, memoryview(b"b" * (SENT_BYTES + 1)), b""]
    asyncio.run(blob_transfer.send(service, BY_NAME, pieces))
    assert b"".join(message.part for message in service.sent) == b"".join(pieces)
    assert service.sent[0].blob == BY_NAME


def test_a_download_comes_in_parts_as_they_arrive() -> None:
    seen: list[bytes] = []
    received([b"one", b"two"], blob_transfer.ref_of(b"onetwo"), seen)
    assert seen == [b"one", b"two"]


@pytest.mark.parametrize("ref", [blob_transfer.ref_of(b"onetwo"), BY_NAME], ids=["by digest", "by name"])
@pytest.mark.parametrize("parts", [[b"one", b"too"], [b"one"], []])
def test_a_download_that_is_not_what_was_stored_ends_in_an_error(
    parts: list[bytes], ref: common_pb2.BlobRef
) -> None:
    seen: list[bytes] = []
    with pytest.raises(DigestMismatch, match="arrived damaged"):
        received(parts, ref, seen)
    assert seen == parts
