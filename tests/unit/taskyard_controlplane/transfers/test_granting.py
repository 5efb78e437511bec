"""Who may move a blob past the control plane, while blobs come and go."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import result_name
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.blobs.places import check_endpoint
from taskyard_controlplane.owner.leaving_blobs import TOLD_SECONDS, LeavingBlobs
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.transfers.answering import GrantedTransfers
from taskyard_controlplane.transfers.granting import Granting
from taskyard_controlplane.transfers.interface import GRANT_SECONDS

REF = common_pb2.BlobRef(name=result_name(bytes(16), 1), size=5)


class Way:
    """Grants what it is told to."""

    def __init__(self, grant: bool = True, error: Exception | None = None) -> None:
        self.asked = 0
        self._grant, self._error = grant, error

    def read(self, ref: common_pb2.BlobRef) -> pb.TransferGrant | None:
        self.asked += 1
        if self._error is not None:
            raise self._error
        return pb.TransferGrant(name=ref.name) if self._grant else None

    write = read


def test_the_first_way_that_takes_a_blob_is_taken() -> None:
    away, none, first, second = Way(error=StorageUnavailable("away")), Way(grant=False), Way(), Way()
    granting = Granting([away, none, first, second])
    assert granting.read(REF) == granting.write(REF) == pb.TransferGrant(name=REF.name)
    assert [way.asked for way in (away, none, first, second)] == [2, 2, 2, 0]
    assert Granting([away, none]).read(REF) is None


class Scene:
    """A control plane as far as grants need it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.leaving = LeavingBlobs(lambda: self.seconds)
        self.way = Way()
        self.threads = ThreadPoolExecutor(2)
        self.granted = GrantedTransfers(
            lambda: self.leaving, Granting([self.way]), Background(self.threads), 100
        )

    def run(self, work: Any) -> Any:
        with self.threads:
            return asyncio.run(work)


@pytest.mark.parametrize("field", ["reads", "writes"])
def test_what_was_granted_stays_for_longer_than_the_grant(field: str) -> None:
    scene = Scene()
    answer = scene.run(scene.granted.grant(pb.GrantTransfersRequest(**{field: [REF]})))
    assert [grant.name for grant in getattr(answer, field)] == [REF.name]
    assert GRANT_SECONDS < TOLD_SECONDS
    scene.seconds = GRANT_SECONDS
    assert not scene.leaving.may_go(REF.name)


def test_what_is_being_removed_is_not_granted_to_readers() -> None:
    scene = Scene()

    async def ask() -> pb.GrantTransfersResponse:
        scene.leaving.begin_removing([REF.name])
        return await scene.granted.grant(pb.GrantTransfersRequest(reads=[REF]))

    assert scene.run(ask()) == pb.GrantTransfersResponse()
    assert scene.way.asked == 0


def test_who_stores_it_again_waits_until_it_is_gone() -> None:
    scene = Scene()

    async def ask() -> pb.GrantTransfersResponse:
        scene.leaving.begin_removing([REF.name])
        asked = asyncio.create_task(scene.granted.grant(pb.GrantTransfersRequest(writes=[REF])))
        await asyncio.sleep(0)
        assert not asked.done()
        assert scene.way.asked == 0
        scene.leaving.end_removing([REF.name])
        return await asked

    assert len(scene.run(ask()).writes) == 1
    assert not scene.leaving.may_go(REF.name)


@pytest.mark.parametrize(
    "url",
    ["s3.example", "ftp://s3.example", "https://", "https://key:secret@s3.example", "https://s3.example?a=b"],
)
def test_an_endpoint_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="give http://HOST:PORT") as caught:
        check_endpoint(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "https://s3.example", "http://127.0.0.1:9000", "https://s3.example/below"]
)
def test_an_endpoint(url: str) -> None:
    check_endpoint(url)
