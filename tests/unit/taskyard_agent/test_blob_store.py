"""The agent's directory of blobs stays within its capacity, and nobody's work is taken from them."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from taskyard_agent.holding.blob_store import BlobStore
from taskyard_api.v1 import blob_service_pb2, common_pb2
from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceServicer, add_BlobServiceServicer_to_server
from taskyard_contract.errors import BlobNotFound
from taskyard_contract.transport.rpc_errors import to_status

SIZE = 1000


def store(path: Path, capacity: int) -> BlobStore:
    return BlobStore(path, lambda: "127.0.0.1:1", capacity)


def put(blobs: BlobStore, digest: bytes, used_at: float) -> None:
    blobs.path(digest).write_bytes(b"x" * SIZE)
    os.utime(blobs.path(digest), (used_at, used_at))


def part(blobs: BlobStore, digest: bytes, pid: int) -> Path:
    path = blobs.path(digest)
    unfinished = path.with_name(f"{path.name}.{pid}.part")
    unfinished.write_bytes(b"x" * SIZE)
    return unfinished


@pytest.fixture
def digests() -> list[bytes]:
    return [bytes([number]) * 32 for number in range(4)]


def test_what_was_not_used_for_longest_is_removed_first(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 2 * SIZE)
    for used_at, digest in enumerate(digests):
        put(blobs, digest, used_at)
    blobs.in_use = lambda: digests[:1]
    blobs.make_room()
    assert [blobs.has([digest]) for digest in digests] == [True, False, False, True]


def test_what_a_killed_worker_was_writing_takes_no_room(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 2 * SIZE)
    for used_at, digest in enumerate(digests[:2]):
        put(blobs, digest, used_at)
    abandoned = part(blobs, digests[2], 7)
    blobs.make_room()
    assert not abandoned.exists()
    assert blobs.has(digests[:2]), "complete blobs were removed in its stead"


def test_what_is_being_written_stays(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 0)
    blobs.writers = lambda: [7]
    unfinished = [part(blobs, digests[0], 7), part(blobs, digests[1], os.getpid())]
    blobs.make_room()
    assert all(path.exists() for path in unfinished)


def test_nothing_unfinished_is_left_of_an_earlier_agent(tmp_path: Path, digests: list[bytes]) -> None:
    abandoned = part(store(tmp_path, SIZE), digests[0], os.getpid())
    store(tmp_path, SIZE)
    assert not abandoned.exists()


class _Service(BlobServiceServicer):
    """Has no blob, and reads whatever is uploaded."""

    async def DownloadBlob(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield blob_service_pb2.DownloadBlobResponse(part=b"a beginning")
        await context.abort_with_status(to_status(BlobNotFound("no such blob")))

    async def UploadBlob(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802
        async for _ in request_iterator:
            pass
        return blob_service_pb2.UploadBlobResponse()


def with_server(path: Path, scenario: Callable[[BlobStore], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        server = aio.server()
        add_BlobServiceServicer_to_server(_Service(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            await scenario(BlobStore(path, lambda: f"127.0.0.1:{port}", SIZE))
        finally:
            await server.stop(None)

    asyncio.run(main())


def test_a_download_that_fails_for_good_leaves_nothing(tmp_path: Path, digests: list[bytes]) -> None:
    async def scenario(blobs: BlobStore) -> None:
        with pytest.raises(BlobNotFound):
            await blobs.fetch(digests[:1])

    with_server(tmp_path, scenario)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_cannot_be_read_is_an_error_and_no_cancellation(
    tmp_path: Path, digests: list[bytes]
) -> None:
    async def scenario(blobs: BlobStore) -> None:
        # It can be opened, and nothing lies at its beginning.
        blobs.path(digests[0]).symlink_to("/proc/self/mem")
        with pytest.raises(OSError, match="Input/output error"):
            await blobs.upload(common_pb2.BlobRef(digest=digests[0], size=SIZE))

    with_server(tmp_path, scenario)


def test_a_full_disk_gets_rid_of_what_nobody_needs(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 100 * SIZE)
    blobs.writers = lambda: [7]
    for used_at, digest in enumerate(digests):
        put(blobs, digest, used_at)
    blobs.in_use = lambda: digests[:1]
    os.utime(blobs.path(digests[1]))  # just written: its report may be on the way
    unfinished = part(blobs, bytes(32), 7)
    blobs.evict()
    assert [blobs.has([digest]) for digest in digests] == [True, True, False, False]
    assert unfinished.exists()


def test_what_a_worker_was_writing_goes_with_it(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, SIZE)
    unfinished = [part(blobs, digest, 7) for digest in digests[:2]]
    other = part(blobs, digests[2], 77)
    blobs.forget_writer(7)
    assert ([path.exists() for path in unfinished], other.exists()) == ([False, False], True)


def test_a_download_without_room_tries_once_more_after_making_some(
    tmp_path: Path, digests: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(blobs: BlobStore) -> None:
        put(blobs, digests[0], 1)

        async def download(digest: bytes) -> None:
            if blobs.has(digests[:1]):
                raise OSError(errno.ENOSPC, "full")
            put(blobs, digest, 2)

        monkeypatch.setattr(blobs, "_download_once", download)
        await blobs.fetch(digests[1:2])
        assert [blobs.has([digest]) for digest in digests[:2]] == [False, True]

    with_server(tmp_path, scenario)
