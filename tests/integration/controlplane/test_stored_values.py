"""Values go to the store of blobs, by whatever name, and not through the database."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import xxhash
from blake3 import blake3

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.errors import (
    BlobNotFound,
    DigestMismatch,
    InvalidRequest,
    PayloadTooLarge,
    StorageFull,
    StorageUnavailable,
    TaskyardError,
)
from taskyard_contract.transport.rpc_errors import from_rpc_error

MIB = 1024 * 1024
DATA = bytes(range(256)) * (3 * MIB // 256) + b"the end"
RESULT = "run-" + "0a" * 16 + "-" + "0" * 15 + "1"


def by_content(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name="b3-" + blake3(data).hexdigest(), size=len(data))


def result(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=RESULT, size=len(data), checksum=xxhash.xxh3_64_intdigest(data))


def parts(data: bytes, ref: common_pb2.BlobRef) -> Iterator[pb.UploadBlobRequest]:
    yield pb.UploadBlobRequest(blob=ref, part=data[:MIB])
    for start in range(MIB, len(data), MIB):
        yield pb.UploadBlobRequest(part=data[start : start + MIB])


def upload(served: Any, ref: common_pb2.BlobRef, data: bytes) -> None:
    served.blobs.UploadBlob(parts(data, ref), timeout=30)


def download(served: Any, name: str, offset: int = 0) -> bytes:
    request = pb.DownloadBlobRequest(name=name, offset=offset)
    return b"".join(answer.part for answer in served.blobs.DownloadBlob(request, timeout=30))


def refusal(call: Callable[[], Any]) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return from_rpc_error(caught.value)  # type: ignore[arg-type]


def left_in(path: Path) -> list[Path]:
    return [found for found in path.glob("*/*") if found.is_file()]


@pytest.mark.parametrize("named", [by_content, result])
def test_a_value_comes_back_by_its_name(
    served: Any, named: Callable[[bytes], common_pb2.BlobRef], tmp_path: Path
) -> None:
    ref = named(DATA)
    upload(served, ref, DATA)
    assert download(served, ref.name) == DATA
    assert download(served, ref.name, len(DATA) - 7) == b"the end"
    [file] = left_in(tmp_path / "runs-blobs")
    assert (file.name, file.read_bytes()) == (ref.name, DATA)


def test_no_byte_of_a_value_passes_the_committer(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plane, jobs = served.plane, list[Any]()
    committer = plane.owner.shard.committer
    monkeypatch.setattr(committer, "run", lambda job: jobs.append(job))
    commits = plane.owner.metrics.commits
    upload(served, by_content(DATA), DATA)
    assert download(served, by_content(DATA).name) == DATA
    assert plane.owner.metrics.commits == commits
    assert [job for job in jobs if job != plane.owner._store.maintain] == []


def test_missing_names_are_told(served: Any) -> None:
    upload(served, by_content(b"here"), b"here")
    names = [by_content(b"not here").name, by_content(b"here").name, RESULT]
    request = pb.FindMissingBlobsRequest(names=names)
    assert served.blobs.FindMissingBlobs(request, timeout=10).missing_names == [names[0], RESULT]


@pytest.mark.parametrize("named", [by_content, result])
def test_other_content_than_the_name_says_is_refused(
    served: Any, named: Callable[[bytes], common_pb2.BlobRef], tmp_path: Path
) -> None:
    assert isinstance(refusal(lambda: upload(served, named(b"real"), b"fake")), DigestMismatch)
    assert isinstance(refusal(lambda: upload(served, named(b"real"), b"rea")), DigestMismatch)
    assert isinstance(refusal(lambda: upload(served, named(b"real"), b"real.")), InvalidRequest)
    assert isinstance(refusal(lambda: download(served, named(b"real").name)), BlobNotFound)
    eventually_empty(tmp_path / "runs-blobs")


def test_a_result_that_somebody_may_know_is_not_replaced(served: Any) -> None:
    upload(served, result(b"first"), b"first")
    upload(served, result(b"first"), b"first")  # as after a lost answer
    assert isinstance(refusal(lambda: upload(served, result(b"other"), b"other")), InvalidRequest)
    assert download(served, RESULT) == b"first"


def eventually_empty(path: Path) -> None:
    """Wait for what was given up to be removed, which nobody waits for."""
    deadline = time.monotonic() + 20
    while left := left_in(path):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_an_upload_that_is_cut_off_leaves_nothing(served: Any, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def endless() -> Iterator[pb.UploadBlobRequest]:
        yield from parts(DATA[: 2 * MIB], by_content(DATA))
        begun.set()
        go_on.wait(30)

    call = served.blobs.UploadBlob.future(endless(), timeout=30)
    assert begun.wait(20)
    call.cancel()
    go_on.set()
    eventually_empty(tmp_path / "runs-blobs")
    upload(served, by_content(DATA), DATA)
    assert download(served, by_content(DATA).name) == DATA


def test_what_does_not_fit_beside_the_database_is_refused(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    block, gib = 4096, 1024**3
    nearly_full = SimpleNamespace(f_frsize=block, f_blocks=100 * gib // block, f_bavail=(gib + 5) // block)
    monkeypatch.setattr(os, "statvfs", lambda _: nearly_full)
    error = refusal(lambda: upload(served, by_content(DATA), DATA))
    assert isinstance(error, StorageFull)
    assert "make room" in str(error)
    assert served.submit()  # the database goes on


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageUnavailable)],
)
def test_a_disk_that_fails_while_a_value_is_written(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[TaskyardError]
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr("taskyard_controlplane.blobs.directory.os.fdatasync", failing)
        assert isinstance(refusal(lambda: upload(served, by_content(DATA), DATA)), kind)
    eventually_empty(tmp_path / "runs-blobs")
    upload(served, by_content(DATA), DATA)


def test_a_value_whose_file_is_gone_is_not_found(served: Any, tmp_path: Path) -> None:
    upload(served, by_content(DATA), DATA)
    [file] = left_in(tmp_path / "runs-blobs")
    file.unlink()
    assert isinstance(refusal(lambda: download(served, file.name)), BlobNotFound)


def test_values_survive_a_restart_and_peers_are_told_where_they_are(serve: Callable[..., Any]) -> None:
    first = serve()
    upload(first, by_content(DATA), DATA)
    told = next(iter(first.session())).welcome.blob_directory
    assert BlobDirectory(Path(told.path)).is_marked(told.nonce)
    first.stop()
    second = serve()
    assert download(second, by_content(DATA).name) == DATA
    again = next(iter(second.session())).welcome.blob_directory
    assert again.path == told.path
    assert again.nonce != told.nonce
    assert BlobDirectory(Path(again.path)).is_marked(again.nonce)


def test_who_cannot_have_the_database_leaves_its_directory_alone(serve: Callable[..., Any]) -> None:
    served = serve()
    told = next(iter(served.session())).welcome.blob_directory
    with pytest.raises(Exception, match="another"):
        serve()
    assert BlobDirectory(Path(told.path)).is_marked(told.nonce)


def test_a_store_in_memory_is_told_to_nobody_and_takes_less(serve: Callable[..., Any]) -> None:
    served = serve(blobs="memory:")
    welcome = next(iter(served.session())).welcome
    assert not welcome.HasField("blob_directory")
    assert welcome.max_payload_bytes == 128 * MIB
    upload(served, by_content(DATA), DATA)
    assert download(served, by_content(DATA).name) == DATA
    request = pb.UploadBlobRequest(blob=common_pb2.BlobRef(name=by_content(b"").name, size=128 * MIB + 1))
    assert isinstance(refusal(lambda: served.blobs.UploadBlob(iter([request]), timeout=10)), PayloadTooLarge)
