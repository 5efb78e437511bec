"""GrantTransfers: large blobs go to object storage and come from it past the control plane."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import grpc
import pytest
from grpc import aio
from support.object_server import SECRET, ObjectServer, server_for_tests

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceStub
from taskyard_contract.blobs.names import checksum_of, content_name, result_name
from taskyard_contract.errors import InvalidRequest, NamespaceNotFound, PayloadTooLarge
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.direct_fetch import MemoryTarget
from taskyard_contract.transport.direct_store import MemorySource
from taskyard_contract.transport.direct_transfers import DirectTransfers
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.rpc.blobs import BlobService

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub

DATA = bytes(range(251)) * 80_000
REF = common_pb2.BlobRef(name=result_name(bytes(16), 1), size=len(DATA), checksum=checksum_of([DATA]))


@pytest.fixture(scope="module")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return object_server.make_bucket(f"bucket-{uuid4().hex[:12]}")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What passes the control plane."""
    calls: list[str] = []
    upload, stored = BlobService._upload, BlobService._stored

    def uploading(self: Any, requests: Any, context: Any) -> Any:
        calls.append("upload")
        return upload(self, requests, context)

    def downloading(self: Any, *what: Any) -> Any:
        calls.append("download")
        return stored(self, *what)

    monkeypatch.setattr(BlobService, "_upload", uploading)
    monkeypatch.setattr(BlobService, "_stored", downloading)
    return calls


def used(address: str, use: Callable[[DirectTransfers, "BlobServiceAsyncStub"], Any]) -> Any:
    async def call() -> Any:
        async with aio.insecure_channel(address) as channel:
            stub = cast("BlobServiceAsyncStub", BlobServiceStub(channel))
            return await use(DirectTransfers(lambda: address), stub)

    return asyncio.run(call())


def moved(address: str, ref: common_pb2.BlobRef = REF, data: bytes = DATA) -> tuple[bool, bytes | None]:
    """Store a blob past the control plane, and read it; says what came of it."""

    async def move(transfers: DirectTransfers, stub: "BlobServiceAsyncStub") -> tuple[bool, bytes | None]:
        stored = await transfers.store(stub, ref, MemorySource([data]))
        target = MemoryTarget(ref.size)
        fetched = await transfers.fetch(stub, ref, target)
        return stored, bytes(target.content) if fetched else None

    return cast("tuple[bool, bytes | None]", used(address, move))


def through(address: str, ref: common_pb2.BlobRef = REF, data: bytes = DATA) -> bytes:
    """Store a blob by the control plane, and read it."""

    async def move(_: DirectTransfers, stub: "BlobServiceAsyncStub") -> bytes:
        await blob_transfer.send(stub, ref, [data])
        return b"".join([part async for part in blob_transfer.receive(stub, ref)])

    return cast("bytes", used(address, move))


@pytest.mark.objects
def test_a_result_goes_past_the_control_plane(serve: Any, bucket: str, passed: list[str]) -> None:
    served = serve(blobs=bucket)
    assert moved(served.plane.address) == (True, DATA)
    assert passed == []
    assert through(served.plane.address) == DATA, "it is the same as one that went through it"


@pytest.mark.objects
def test_contents_are_only_read_past_it(serve: Any, bucket: str) -> None:
    address = serve(blobs=bucket).plane.address
    ref = common_pb2.BlobRef(name=content_name([DATA]), size=len(DATA), checksum=checksum_of([DATA]))
    assert moved(address, ref) == (False, None)
    assert through(address, ref) == DATA
    assert moved(address, ref) == (False, DATA)


@pytest.mark.objects
def test_a_result_that_is_stored_is_not_replaced(serve: Any, bucket: str) -> None:
    address = serve(blobs=bucket).plane.address
    assert moved(address) == (True, DATA)
    other = DATA[:-1] + b"!"
    ref = common_pb2.BlobRef(name=REF.name, size=len(other), checksum=checksum_of([other]))
    assert moved(address, ref, other) == (False, None)
    with pytest.raises(aio.AioRpcError) as caught:
        through(address, ref, other)
    assert isinstance(from_rpc_error(caught.value), InvalidRequest)
    assert through(address) == DATA


@pytest.mark.objects
def test_where_the_storage_cannot_be_reached_blobs_pass_the_control_plane(serve: Any, bucket: str) -> None:
    address = serve(blobs=bucket, more={"object_endpoint": "http://127.0.0.1:1"}).plane.address
    assert moved(address) == (False, None)
    assert through(address) == DATA


@pytest.mark.objects
def test_grants_can_be_switched_off(serve: Any, bucket: str) -> None:
    address = serve(blobs=bucket, more={"direct_transfers": False}).plane.address
    assert moved(address) == (False, None)
    assert through(address) == DATA


@pytest.mark.objects
def test_a_grant_that_has_expired_is_replaced(
    serve: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve(blobs=bucket).plane.address
    granted, grants = DirectTransfers._granted, list[Any]()

    async def spoil(self: Any, *what: Any) -> Any:
        grant = await granted(self, *what)
        if not grants and grant is not None:
            grant.url = grant.url.replace("X-Amz-Signature=", "X-Amz-Signature=0")
        grants.append(grant)
        return grant

    monkeypatch.setattr(DirectTransfers, "_granted", spoil)
    assert moved(address) == (True, DATA)
    assert len(grants) == 3


@pytest.mark.objects
def test_storage_that_goes_away_and_comes_back(
    serve: Any, bucket: str, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.blobs.objects.RETRIES", {"max_retries": 0})
    address = serve(blobs=bucket).plane.address
    assert moved(address) == (True, DATA)
    with object_server.away():
        assert moved(address) == (False, None)
    assert moved(address) == (False, DATA)


@pytest.mark.objects
def test_what_lets_one_in_is_in_no_log(serve: Any, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    moved(serve(blobs=bucket, more={"object_endpoint": "http://127.0.0.1:1"}).plane.address)
    assert "X-Amz" not in caplog.text
    assert SECRET not in caplog.text


def test_a_directory_grants_nothing(serve: Any) -> None:
    request = pb.GrantTransfersRequest(reads=[REF], writes=[REF])
    assert serve().blobs.GrantTransfers(request, timeout=10) == pb.GrantTransfersResponse()


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (pb.GrantTransfersRequest(reads=[REF] * 60, writes=[REF] * 41), InvalidRequest, "reads"),
        (
            pb.GrantTransfersRequest(reads=[REF, common_pb2.BlobRef(name="../x")]),
            InvalidRequest,
            "reads[1].name",
        ),
        (
            pb.GrantTransfersRequest(writes=[common_pb2.BlobRef(name=f"inputs-{'0' * 32}-{'0' * 16}")]),
            InvalidRequest,
            "writes[0].name",
        ),
        (
            pb.GrantTransfersRequest(writes=[common_pb2.BlobRef(digest=b"1")]),
            InvalidRequest,
            "writes[0].digest",
        ),
        (
            pb.GrantTransfersRequest(writes=[common_pb2.BlobRef(name=REF.name, size=2**40)]),
            PayloadTooLarge,
            "writes[0].size",
        ),
        (pb.GrantTransfersRequest(reads=[REF], namespace="elsewhere"), NamespaceNotFound, "namespace"),
    ],
)
def test_what_is_no_blob_is_not_granted(
    served: Any, request_: pb.GrantTransfersRequest, error: type[Exception], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        served.blobs.GrantTransfers(request_, timeout=10)
    refused = from_rpc_error(cast("Any", caught.value))
    assert isinstance(refused, error)
    assert refused.field == field
