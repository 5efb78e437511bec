"""BlobService: what comes out is what went in, and nothing else goes in."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs import directory as directories
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.giving_way import SMALL_SYNC_BYTES, SYNC_BYTES
from taskyard_contract.blobs.names import checksum_of, content_name, result_name
from taskyard_contract.errors import (
    BlobNotFound,
    DigestMismatch,
    InvalidRequest,
    NamespaceNotFound,
    Overloaded,
    PayloadTooLarge,
    TaskyardError,
)
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.domain import model
from taskyard_controlplane.settings import PeerSettings

MIB = 1024 * 1024


def reference(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(digest=hashlib.sha256(data).digest(), size=len(data))


def parts(data: bytes, blob: common_pb2.BlobRef | None = None, size: int = MIB) -> Iterator[Any]:
    yield pb.UploadBlobRequest(blob=blob or reference(data), part=data[:size])
    for start in range(size, len(data), size):
        yield pb.UploadBlobRequest(part=data[start : start + size])


def upload(served: Any, requests: Iterator[Any]) -> Any:
    return served.blobs.UploadBlob(requests, timeout=20)


def complete(answer: Any) -> None:
    """Read a stream of answers to its end; a single answer is complete already."""
    if isinstance(answer, Iterator):
        for _ in answer:
            continue


def refusal(call: Any, request: Any) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        complete(call(request, timeout=20))
    return from_rpc_error(caught.value)


@pytest.mark.parametrize("size", [0, 1, MIB, 6 * MIB + 7])
def test_a_blob_comes_back_as_it_was(served: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert upload(served, parts(data)).blob == reference(data)
    assert upload(served, parts(data)).blob == reference(data)
    answers = served.blobs.DownloadBlob(pb.DownloadBlobRequest(digest=reference(data).digest), timeout=20)
    received = [answer.part for answer in answers]
    assert b"".join(received) == data
    assert all(len(part) <= MIB for part in received)


@pytest.mark.parametrize("offset", [1, MIB, MIB + 1, 2 * MIB + 7])
def test_a_download_goes_on_where_another_one_ended(on_either: Any, offset: int) -> None:
    served = on_either
    data = bytes(range(256)) * (2 * MIB // 256) + b"the end"
    digest = upload(served, parts(data)).blob.digest
    request = pb.DownloadBlobRequest(digest=digest, offset=offset)
    received = b"".join(answer.part for answer in served.blobs.DownloadBlob(request, timeout=20))
    assert received == data[offset:]
    request.offset = len(data) + 1
    error = refusal(served.blobs.DownloadBlob, request)
    assert isinstance(error, InvalidRequest)
    assert (error.field, error.limit) == ("offset", len(data))


def test_what_an_agent_fetches_of_a_chunk_has_an_end_too(
    on_either: Any, connect_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "LARGE_INPUTS", 1_000)
    served, agent = on_either, connect_agent(on_either)
    [up] = served.submit()
    served.submit(upstream=[up])
    [(epoch, _)] = agent.take(1)
    agent.report(epoch, up, b"3" * 2_000)
    agent.take(1)
    body = agent.chunks[-1].body_blob
    request = pb.DownloadBlobRequest(name=body.name, offset=body.size - 7)
    assert len(b"".join(answer.part for answer in served.blobs.DownloadBlob(request, timeout=20))) == 7
    request.offset = body.size
    assert list(served.blobs.DownloadBlob(request, timeout=20)) == []
    request.offset = body.size + 1
    error = refusal(served.blobs.DownloadBlob, request)
    assert isinstance(error, InvalidRequest)
    assert (error.field, error.limit) == ("offset", body.size)


def test_nothing_is_stored_for_a_namespace_there_is_not(served: Any) -> None:
    ref = reference(b"misplaced")
    request = pb.UploadBlobRequest(blob=ref, part=b"misplaced", namespace="elsewhere")
    error = refusal(served.blobs.UploadBlob, iter([request]))
    assert isinstance(error, NamespaceNotFound)
    assert error.field == "namespace"
    asked = pb.FindMissingBlobsRequest(digests=[ref.digest])
    assert served.blobs.FindMissingBlobs(asked, timeout=10).missing == [ref.digest]
    request.namespace = "default"
    assert upload(served, iter([request])).blob == ref


def test_only_missing_blobs_are_named(served: Any) -> None:
    upload(served, parts(b"here"))
    digests = [reference(b"here").digest, reference(b"not here").digest]
    missing = served.blobs.FindMissingBlobs(pb.FindMissingBlobsRequest(digests=digests), timeout=10).missing
    assert list(missing) == digests[1:]


def test_content_with_another_digest_is_refused(served: Any) -> None:
    error = refusal(served.blobs.UploadBlob, parts(b"real", reference(b"fake")))
    assert isinstance(error, DigestMismatch)
    missing = served.blobs.FindMissingBlobs(
        pb.FindMissingBlobsRequest(digests=[reference(b"fake").digest]), timeout=10
    )
    assert len(missing.missing) == 1


def test_an_upload_cut_short_is_refused(served: Any) -> None:
    error = refusal(served.blobs.UploadBlob, parts(b"rea", reference(b"real")))
    assert isinstance(error, DigestMismatch)
    assert "3 of 4 bytes" in str(error)


def test_an_upload_beyond_its_size_is_refused(served: Any) -> None:
    error = refusal(served.blobs.UploadBlob, parts(b"real and more", reference(b"real")))
    assert isinstance(error, InvalidRequest)


def test_an_upload_must_say_what_it_is(served: Any) -> None:
    error = refusal(served.blobs.UploadBlob, iter([pb.UploadBlobRequest(part=b"x")]))
    assert isinstance(error, InvalidRequest)
    assert isinstance(refusal(served.blobs.UploadBlob, iter([])), InvalidRequest)


def test_a_blob_above_the_limit_is_refused_at_once(serve: Any) -> None:
    served = serve(max_payload_bytes=1_000)
    error = refusal(served.blobs.UploadBlob, iter([pb.UploadBlobRequest(blob=reference(bytes(1_001)))]))
    assert (type(error), error.limit) == (PayloadTooLarge, 1_000)


def test_a_part_above_the_limit_is_refused(served: Any) -> None:
    data = bytes(2 * MIB)
    assert isinstance(refusal(served.blobs.UploadBlob, parts(data, size=MIB + 1)), InvalidRequest)


def test_an_unknown_blob_is_not_found(served: Any) -> None:
    error = refusal(served.blobs.DownloadBlob, pb.DownloadBlobRequest(digest=bytes(32)))
    assert isinstance(error, BlobNotFound)


def test_a_malformed_digest_is_an_invalid_request(served: Any) -> None:
    for call, request in (
        (served.blobs.DownloadBlob, pb.DownloadBlobRequest(digest=b"short")),
        (served.blobs.FindMissingBlobs, pb.FindMissingBlobsRequest(digests=[b"short"])),
        (served.blobs.FindMissingBlobs, pb.FindMissingBlobsRequest(digests=[bytes(32)] * 1_001)),
    ):
        assert isinstance(refusal(call, request), InvalidRequest)


def test_a_client_that_leaves_in_the_middle_of_a_download_harms_nobody(served: Any) -> None:
    data = bytes(8 * MIB)
    upload(served, parts(data))
    call = served.blobs.DownloadBlob(pb.DownloadBlobRequest(digest=reference(data).digest), timeout=20)
    next(call)
    call.cancel()
    again = served.blobs.DownloadBlob(pb.DownloadBlobRequest(digest=reference(data).digest), timeout=20)
    assert sum(len(answer.part) for answer in again) == len(data)


def stalling(data: bytes, go_on: threading.Event) -> Iterator[Any]:
    """Send all but the end of a blob, and that when told to."""
    yield pb.UploadBlobRequest(blob=reference(data), part=data[:-1])
    go_on.wait(30)
    yield pb.UploadBlobRequest(part=data[-1:])


def test_an_upload_that_stalls_ends_and_leaves_nothing_behind(serve: Callable[..., Any]) -> None:
    served = serve(peers=PeerSettings(upload_part_seconds=0.1))
    go_on = threading.Event()
    with pytest.raises(grpc.RpcError) as caught:
        upload(served, stalling(b"x" * MIB, go_on))
    go_on.set()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "within 0.1 seconds" in str(caught.value.details())
    assert list(served.blobs.FindMissingBlobs(missing(b"x" * MIB), timeout=10).missing)


def missing(data: bytes) -> pb.FindMissingBlobsRequest:
    return pb.FindMissingBlobsRequest(digests=[reference(data).digest])


def test_an_empty_part_is_refused(served: Any) -> None:
    empty = iter([pb.UploadBlobRequest(blob=reference(b"abc"), part=b"a"), pb.UploadBlobRequest()])
    error = refusal(lambda request, timeout: served.blobs.UploadBlob(request, timeout=timeout), empty)
    assert isinstance(error, InvalidRequest)
    assert "empty" in str(error)


def test_uploads_beyond_the_limit_wait_for_their_turn(serve: Callable[..., Any]) -> None:
    served = serve(peers=PeerSettings(max_uploads=1, upload_part_seconds=20))
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[Any]:
        yield pb.UploadBlobRequest(blob=reference(b"abc"), part=b"ab")
        begun.set()
        go_on.wait(30)
        yield pb.UploadBlobRequest(part=b"c")

    first = served.blobs.UploadBlob.future(slow(), timeout=30)
    assert begun.wait(20)
    second = served.blobs.UploadBlob.future(parts(b"def"), timeout=30)
    go_on.set()
    assert first.result().blob == reference(b"abc")
    assert second.result().blob == reference(b"def")


def test_an_upload_whose_turn_does_not_come_is_refused_for_now(serve: Callable[..., Any]) -> None:
    served = serve(peers=PeerSettings(max_uploads_per_address=1, upload_part_seconds=2))
    begun, go_on = threading.Event(), threading.Event()

    def endless() -> Iterator[Any]:
        yield pb.UploadBlobRequest(blob=reference(b"abcdefgh" * MIB), part=b"a")
        begun.set()
        while not go_on.wait(0.5):
            yield pb.UploadBlobRequest(part=b"a")

    first = served.blobs.UploadBlob.future(endless(), timeout=30)
    assert begun.wait(20)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            upload(served, parts(b"def"))
        except grpc.RpcError as refused:
            error = from_rpc_error(refused)
            break
    go_on.set()
    first.cancel()
    assert isinstance(error, Overloaded)
    assert "1 uploads from ipv4:127.0.0.1" in str(error)


RUN, EPOCH = bytes(range(16)), 7


def named(name: str, data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=name, size=len(data), checksum=checksum_of([data]))


def sent(served: Any, ref: common_pb2.BlobRef, data: bytes) -> Any:
    parts = [data[at : at + 100_000] for at in range(0, len(data), 100_000)] or [b""]
    messages = [pb.UploadBlobRequest(part=part) for part in parts]
    messages[0].blob.CopyFrom(ref)
    return upload(served, iter(messages))


def fetched(served: Any, ref: common_pb2.BlobRef, offset: int = 0) -> bytes:
    request = pb.DownloadBlobRequest(name=ref.name, digest=ref.digest, offset=offset)
    return b"".join(message.part for message in served.blobs.DownloadBlob(request, timeout=20))


@pytest.mark.parametrize("size", [0, 1, 2_500_001])
def test_a_result_is_stored_under_the_name_of_its_run(served: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    ref = named(result_name(RUN, EPOCH), data[:size])
    assert sent(served, ref, data[:size]).blob == ref
    assert fetched(served, ref) == data[:size]
    assert fetched(served, ref, offset=size) == b""


def test_content_is_stored_under_its_own_hash_alone(served: Any) -> None:
    right, wrong = content_name([b"content"]), content_name([b"another"])
    sent(served, named(right, b"content"), b"content")
    with pytest.raises(grpc.RpcError) as refused:
        sent(served, named(wrong, b"content"), b"content")
    assert isinstance(from_rpc_error(refused.value), DigestMismatch)
    found = served.blobs.FindMissingBlobs(pb.FindMissingBlobsRequest(names=[right, wrong]), timeout=20)
    assert list(found.missing_names) == [wrong]


def test_a_result_that_is_stored_is_not_replaced_by_another_one(served: Any) -> None:
    first, other = named(result_name(RUN, EPOCH), b"first"), named(result_name(RUN, EPOCH), b"other")
    sent(served, first, b"first")
    sent(served, first, b"first")  # the answer was lost
    with pytest.raises(grpc.RpcError, match="another result is stored"):
        sent(served, other, b"other")
    assert fetched(served, first) == b"first"


@pytest.mark.parametrize("name", ["../../etc/passwd", "b3-xyz", "run-1-2", "sha256-" + "A" * 64, "x" * 5_000])
def test_what_is_no_name_of_a_blob_is_refused(served: Any, name: str) -> None:
    for call in (
        lambda: sent(served, common_pb2.BlobRef(name=name, size=1), b"x"),
        lambda: fetched(served, common_pb2.BlobRef(name=name)),
        lambda: served.blobs.FindMissingBlobs(pb.FindMissingBlobsRequest(names=[name]), timeout=20),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_program_on_the_same_machine_is_told_of_the_directory(served: Any) -> None:
    ref = named(content_name([b"content"]), b"content")
    sent(served, ref, b"content")
    told = served.plane.owner.terms.blob_directory()
    assert BlobDirectory(Path(told.path)).is_marked(told.nonce)
    assert BlobDirectory(Path(told.path)).path(ref.name).read_bytes() == b"content"


def test_a_file_in_the_directory_is_stored_without_being_sent(served: Any) -> None:
    directory = BlobDirectory(Path(served.plane.owner.terms.blob_directory().path))
    ref = named(result_name(RUN, EPOCH), b"written by a worker")
    directory.write(ref.name, [b"written by ", b"a worker"], ref.size)
    assert fetched(served, ref) == b"written by a worker"


def test_a_large_file_gives_way_to_commits_and_to_nothing_else(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "RESERVED_BYTES", 1)
    directory = BlobDirectory(Path(served.plane.owner.terms.blob_directory().path))
    with open(directory.root / "00" / "any", "wb") as file, directory.steps(1) as steps:

        def held_up() -> bool:
            steps.wrote(file.fileno(), SYNC_BYTES)
            return steps.most == SMALL_SYNC_BYTES

        for _ in range(2):
            while held_up():  # what was committed a moment ago
                pass
            served.submit()
            assert held_up()


def test_nobody_stores_inputs_of_runs_for_the_control_plane(served: Any) -> None:
    blob = common_pb2.BlobRef(name="inputs-" + "0" * 32 + "-" + "0" * 16, size=1, checksum=1)
    error = refusal(served.blobs.UploadBlob, iter([pb.UploadBlobRequest(blob=blob, part=b"x")]))
    assert isinstance(error, InvalidRequest)
    assert error.field == "blob.name"
