"""Uploads that are cut off because their server ends: no error of ours, and nothing is left of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_contract.errors import ServerStopping
from taskyard_contract.transport.blob_transfer import ref_of
from taskyard_controlplane.blobs.directory import DirectoryStore, IncomingFile
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.rpc.blobs import BlobService
from taskyard_controlplane.settings import PeerSettings, RpcSettings


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    store.open("the database")
    return store


def left_in(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.glob("*/*") if path.is_file()]


def test_an_upload_that_is_cut_off_when_the_threads_have_ended(store: DirectoryStore, tmp_path: Path) -> None:
    threads = ThreadPoolExecutor(1)

    async def requests() -> AsyncIterator[pb.UploadBlobRequest]:
        yield pb.UploadBlobRequest(blob=ref_of(b"data"), part=b"da")
        threads.shutdown()
        raise asyncio.CancelledError

    shard = SimpleNamespace(leaving=LeavingBlobs(lambda: 0.0))
    directory: Any = SimpleNamespace(owner=lambda: SimpleNamespace(shard=shard), served=lambda: 0)
    service = BlobService(
        directory,
        Any,
        Any,
        store,
        Background(threads),
        RpcSettings(),
        PeerSettings(),  # type: ignore[arg-type]
    )
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(service.UploadBlob(requests(), SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:1")))
    assert left_in(tmp_path) == []


def test_removing_an_upload_is_not_forgotten_by_threads_that_end_before_it() -> None:
    threads, busy, done = ThreadPoolExecutor(1), threading.Event(), list[int]()
    threads.submit(busy.wait)
    Background(threads).soon(lambda: done.append(1))
    threads.shutdown(wait=False, cancel_futures=True)
    busy.set()
    assert done == [1]


def test_an_upload_that_is_cut_off_while_a_thread_writes_is_removed_by_that_thread(
    store: DirectoryStore, tmp_path: Path
) -> None:
    incoming = store.receive(ref_of(b"data"))
    assert isinstance(incoming, IncomingFile)
    incoming.write(b"")
    file, writing, go_on = incoming._file, threading.Event(), threading.Event()
    write = file.write

    def write_slowly(part: bytes) -> int:
        writing.set()
        go_on.wait()
        return write(part)

    file.write = write_slowly  # type: ignore[method-assign,assignment]
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(incoming.write, b"data")
        writing.wait()
        incoming.discard()
        assert not file.closed
        go_on.set()
        adding.result()
    assert file.closed
    assert left_in(tmp_path) == []


def test_what_comes_when_the_threads_have_ended_is_told_to_come_again() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()

    async def ask() -> None:
        with pytest.raises(ServerStopping) as raised:
            await Background(threads)(len, "text")
        assert raised.value.retry_after > 0

    asyncio.run(ask())
