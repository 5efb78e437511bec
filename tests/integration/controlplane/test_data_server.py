"""Blobs by HTTP: what comes back, what is refused and how, on real sockets."""

import errno
import http.client
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.data_server import DataStage, asked, content, data_stage, everything, result

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_controlplane.blobs.directory import DirectoryStore, IncomingFile
from taskyard_controlplane.data_process.uploads import Uploads

MIB = 1024 * 1024
LARGE = bytes(range(256)) * (5 * MIB // 256) + b"the end"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DataStage]:
    with data_stage(tmp_path / "blobs") as stage:
        yield stage


@pytest.mark.parametrize("named", [content, result])
@pytest.mark.parametrize("data", [b"", b"x", LARGE], ids=["nothing", "a byte", "5 MiB"])
def test_what_was_put_comes_back(
    stage: DataStage, named: Callable[[bytes], common_pb2.BlobRef], data: bytes
) -> None:
    stored = stage.put(named(data), data)
    assert (stored.status, stored.headers["Taskyard-Blob"]) == (201, named(data).name)
    assert stage.store.size(named(data).name) == len(data)
    read = stage.get(named(data))
    assert (read.status, read.body) == (200, data)
    assert read.headers["Accept-Ranges"] == "bytes"
    assert stage.put(named(data), data).status == 201  # again: the same


def test_one_connection_carries_many_requests(stage: DataStage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=20)
    for data in (b"one", LARGE, b""):
        assert asked(connection, "PUT", stage.path("PUT", content(data)), data).status == 201
        first = connection.sock
        head = asked(connection, "HEAD", stage.path("GET", content(data)))
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(data)))
        assert asked(connection, "GET", stage.path("GET", content(data))).body == data
        assert connection.sock is first
    connection.close()


def test_ranges_are_sent_as_asked_for(stage: DataStage) -> None:
    stage.put(content(LARGE), LARGE)
    part = stage.get(content(LARGE), Range="bytes=1000000-2999999")
    assert (part.status, part.body) == (206, LARGE[1_000_000:3_000_000])
    assert part.headers["Content-Range"] == f"bytes 1000000-2999999/{len(LARGE)}"
    assert stage.get(content(LARGE), Range="bytes=-7").body == b"the end"
    beyond = stage.get(content(LARGE), Range=f"bytes={len(LARGE)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(LARGE)}")
    assert stage.get(content(LARGE), Range="bytes=1-2,4-5").status == 200


def test_nobody_is_let_in_without_a_ticket_or_after_its_time(stage: DataStage) -> None:
    stage.put(content(b"data"), b"data")
    path = stage.path("GET", content(b"data"))
    for bad in ("/", "/b/" + content(b"data").name, path[:-1] + ("0" if path[-1] != "0" else "1")):
        refused = stage.ask("GET", bad)
        assert (refused.status, refused.error) == (403, "PERMISSION_DENIED")
    assert stage.ask("PUT", path, b"data").status == 403
    assert stage.ask("POST", path, b"data").status == 501
    stage.clock.ahead += 61
    refused = stage.ask("GET", path)
    assert refused.status == 403
    assert b"expired" in refused.body


def test_refusals_keep_the_connection_of_who_reads(stage: DataStage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=20)
    missing = asked(connection, "GET", stage.path("GET", content(b"nobody")))
    assert (missing.status, missing.error) == (404, "BLOB_NOT_FOUND")
    assert content(b"nobody").name.encode() in missing.body
    assert asked(connection, "HEAD", stage.path("GET", content(b"nobody"))).body == b""
    assert asked(connection, "GET", stage.path("GET", content(b"nobody"))).status == 404
    connection.close()


def test_content_that_is_not_what_its_name_says_is_refused(stage: DataStage) -> None:
    for ref in (content(b"data"), result(b"data")):
        refused = stage.put(ref, b"atad")
        assert (refused.status, refused.error) == (422, "DIGEST_MISMATCH")
    assert stage.stored() == []


def test_a_result_is_not_replaced_by_another_one(stage: DataStage) -> None:
    assert stage.put(result(b"data"), b"data").status == 201
    refused = stage.put(result(b"atad"), b"atad")
    assert (refused.status, refused.error) == (409, "INVALID_REQUEST")
    assert stage.get(result(b"data")).body == b"data"


@pytest.mark.parametrize(
    ("length", "status", "error"),
    [
        ("5", 413, "PAYLOAD_TOO_LARGE"),
        (str(10**19), 413, "PAYLOAD_TOO_LARGE"),
        ("3", 422, "DIGEST_MISMATCH"),
        ("four", 400, "INVALID_REQUEST"),
        ("-4", 400, "INVALID_REQUEST"),
        ("+4", 400, "INVALID_REQUEST"),
        ("4_0", 400, "INVALID_REQUEST"),
        ("9" * 500, 400, "INVALID_REQUEST"),
        ("", 400, "INVALID_REQUEST"),
    ],
)
def test_bodies_have_the_length_that_was_granted(
    stage: DataStage, length: str, status: int, error: str
) -> None:
    refused = stage.ask("PUT", stage.path("PUT", content(b"data")), b"data", **{"Content-Length": length})
    assert (refused.status, refused.error) == (status, error)
    assert stage.stored() == []


def test_bodies_without_a_length_are_refused(stage: DataStage) -> None:
    path = stage.path("PUT", content(b"data"))
    for head in (
        b"Transfer-Encoding: chunked\r\n",
        b"",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    ):
        with stage.connect() as connection:
            connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\n".encode() + head + b"\r\n")
            assert everything(connection).startswith(b"HTTP/1.1 411 ")
    with stage.connect() as connection:
        head = b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n"
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\n".encode() + head)
        assert everything(connection).startswith(b"HTTP/1.1 400 ")


def test_who_waits_for_a_word_gets_one_before_he_sends(stage: DataStage) -> None:
    head = "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with stage.connect() as connection:
        connection.sendall(head.format(stage.path("PUT", content(b"data"))).encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"data")
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
    with stage.connect() as connection:
        connection.sendall(head.format("/b/x").encode())
        assert everything(connection).startswith(b"HTTP/1.1 403 ")


def test_a_refused_upload_hears_why_although_it_sends_all(stage: DataStage) -> None:
    refused = stage.ask("PUT", "/b/nobody", LARGE)
    assert (refused.status, refused.headers["Connection"]) == (403, "close")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("no room"), 507),
        (StorageUnavailable("no disk", retry_after=5.0), 503),
        (OSError(errno.ENOSPC, "full"), 507),
        (OSError(errno.EIO, "broken"), 503),
    ],
)
def test_what_the_store_cannot_do_is_said(
    stage: DataStage, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fails(*_: object) -> None:
        raise error

    if isinstance(error, OSError):
        monkeypatch.setattr(os, "posix_fallocate", fails)
        monkeypatch.setattr(os, "fdatasync", fails)
    else:
        monkeypatch.setattr(DirectoryStore, "check_room", fails)
    refused = stage.put(content(LARGE), LARGE)
    assert refused.status == status
    assert refused.headers.get("Retry-After") == ("5" if status == 503 else None)
    monkeypatch.undo()
    assert stage.stored() == []
    assert stage.put(content(LARGE), LARGE).status == 201


def test_a_failure_of_ours_ends_one_request(stage: DataStage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(IncomingFile, "take", fails)
    assert stage.put(content(b"data"), b"data").status == 500
    monkeypatch.undo()
    assert stage.stored() == []
    assert stage.put(content(b"data"), b"data").status == 201


def test_uploads_beyond_the_limit_come_again(tmp_path: Path) -> None:
    with data_stage(tmp_path / "blobs", uploads=Uploads(1, 0.01)) as stage, stage.connect() as first:
        path = stage.path("PUT", content(b"data"))
        head = "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        first.sendall(head.format(path).encode())
        assert first.recv(1000).startswith(b"HTTP/1.1 100 ")  # it has the only place
        refused = stage.put(content(LARGE), LARGE)
        assert (refused.status, refused.error, refused.headers["Retry-After"]) == (429, "OVERLOADED", "1")
        first.sendall(b"data")
        assert first.recv(1000).startswith(b"HTTP/1.1 201 ")
        assert stage.put(content(LARGE), LARGE).status == 201


def test_an_upload_that_waits_for_its_network_keeps_nobody_from_writing(stage: DataStage) -> None:
    slow = [stage.connect() for _ in range(3)]
    for number, connection in enumerate(slow):
        ref = content(bytes([number]) * MIB)
        head = f"PUT {stage.path('PUT', ref)} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n\r\n"
        connection.sendall(head.encode() + bytes([number]) * (MIB - 1))
    assert stage.put(content(LARGE), LARGE).status == 201
    for number, connection in enumerate(slow):
        connection.sendall(bytes([number]))
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
        connection.close()


def test_an_upload_that_ends_early_leaves_nothing(stage: DataStage) -> None:
    with stage.connect() as connection:
        path = stage.path("PUT", content(LARGE))
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LARGE)}\r\n\r\n".encode()
        connection.sendall(head + LARGE[: 2 * MIB])
        connection.shutdown(1)
        assert everything(connection) == b""
    assert stage.stored() == []
