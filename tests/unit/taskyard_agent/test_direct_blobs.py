"""The agent's large blobs go past the control plane, and by it where that does not work."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from support.blob_host import Granting, Host, cut, instead, running_host, status

from taskyard_agent.holding.blob_store import BlobStore
from taskyard_api.v1 import blob_service_pb2, common_pb2
from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceServicer, add_BlobServiceServicer_to_server
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import checksum_of, result_name
from taskyard_contract.errors import BlobNotFound, DigestMismatch, ServerStopping
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_contract.transport.rpc_errors import to_status

DATA = bytes(range(251)) * 5_000
REF = common_pb2.BlobRef(name=result_name(bytes(16), 1), size=len(DATA), checksum=checksum_of([DATA]))


class _Older(BlobServiceServicer):
    """A control plane that knows no grants, and has the blobs of a server."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.passed: list[str] = []

    async def DownloadBlob(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.passed.append("download")
        data = self.host.blobs.get(request.name)
        if data is None:
            await context.abort_with_status(to_status(BlobNotFound("no such blob")))
        for start in range(0, len(data or b""), PART_BYTES):
            yield blob_service_pb2.DownloadBlobResponse(part=(data or b"")[start : start + PART_BYTES])

    async def UploadBlob(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802
        self.passed.append("upload")
        messages = [message async for message in request_iterator]
        self.host.blobs[messages[0].blob.name] = b"".join(message.part for message in messages)
        return blob_service_pb2.UploadBlobResponse()


class _Newer(_Older):
    """One that grants transfers."""

    async def GrantTransfers(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await Granting(self.host).GrantTransfers(request, 0)


Scenario = Callable[[BlobStore, Any], Coroutine[Any, Any, None]]


def played(path: Path, kind: type[_Older], scenario: Scenario) -> None:
    async def main(host: Host) -> None:
        server, service = aio.server(), kind(host)
        add_BlobServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            await scenario(BlobStore(path, lambda: f"127.0.0.1:{port}", 10**9), service)
        finally:
            await server.stop(None)

    with running_host() as host:
        asyncio.run(main(host))
    assert list(path.rglob("*.part")) == []


@pytest.mark.parametrize(("kind", "passed"), [(_Older, ["upload", "download"]), (_Newer, [])])
def test_a_large_blob_goes_and_comes(tmp_path: Path, kind: type[_Older], passed: list[str]) -> None:
    async def scenario(blobs: BlobStore, plane: _Older) -> None:
        BlobDirectory(tmp_path).write(REF.name, [DATA], len(DATA), durable=False)
        await blobs.upload(REF)
        assert plane.host.blobs == {REF.name: DATA}
        blobs.path(REF).unlink()
        await blobs.fetch([REF])
        assert blobs.path(REF).read_bytes() == DATA
        assert plane.passed == passed

    played(tmp_path, kind, scenario)


@pytest.mark.parametrize(
    "fault", [status(403), status(404), status(405), instead(DATA + b"!"), cut(1_000_000)]
)
def test_what_goes_wrong_on_the_way_is_made_good_by_the_control_plane(tmp_path: Path, fault: Any) -> None:
    async def scenario(blobs: BlobStore, plane: _Older) -> None:
        plane.host.blobs[REF.name] = DATA
        plane.host.knows_ranges = False
        plane.host.always = fault
        await blobs.fetch([REF])
        assert blobs.path(REF).read_bytes() == DATA
        assert plane.passed == ["download"]

    played(tmp_path, _Newer, scenario)


def test_a_blob_that_is_gone_or_damaged_where_it_is_stored(tmp_path: Path) -> None:
    async def scenario(blobs: BlobStore, plane: _Older) -> None:
        for stored in (None, DATA[:-1]):
            if stored is not None:
                plane.host.blobs[REF.name] = stored
            blobs.ask_again([REF])
            await blobs.fetch([REF])
            assert blobs.has([REF]), "it is noted as gone"
            assert not blobs.path(REF).exists()
        with pytest.raises(DigestMismatch):
            await blobs._download_once(REF)

    played(tmp_path, _Newer, scenario)


class _Restarted(_Newer):
    """One that ends while a blob is on its way, and is back when it is asked again."""

    asked = 0

    async def GrantTransfers(self, request: Any, context: Any) -> Any:  # noqa: N802
        granting = Granting(self.host)
        granting.confirm = True
        return await granting.GrantTransfers(request, 0)

    async def FindMissingBlobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        assert self.host.blobs == {REF.name: DATA}, "it is asked when the blob is stored"
        if self.asked == 1:
            await context.abort_with_status(to_status(ServerStopping("the server is stopping")))
        return blob_service_pb2.FindMissingBlobsResponse()


def test_a_control_plane_that_is_replaced_while_a_result_is_on_its_way(tmp_path: Path) -> None:
    async def scenario(blobs: BlobStore, plane: _Older) -> None:
        BlobDirectory(tmp_path).write(REF.name, [DATA], len(DATA), durable=False)
        await blobs.upload(REF)
        assert plane.host.blobs == {REF.name: DATA}
        assert plane.passed == ["upload"], "it is there, and compared"

    played(tmp_path, _Restarted, scenario)
