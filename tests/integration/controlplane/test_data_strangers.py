"""The data process under callers who mean no good, or have a bad network."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.data_server import DataStage, content, data_stage, everything
from support.programs import eventually

from taskyard_controlplane.data_process import server as data_server
from taskyard_controlplane.data_process.callers import HEAD_BYTES, HEAD_SECONDS, PIECE_SECONDS

MIB = 1024 * 1024


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DataStage]:
    with data_stage(tmp_path / "blobs") as stage:
        yield stage


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET / HTTP/1.1 more\r\n\r\n",
        b"GET / HTTP/1.\xff\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 90 + b"A" * 100_000 + b": b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
    ],
    ids=range(10),
)
def test_what_is_no_request_is_refused_or_left(stage: DataStage, head: bytes) -> None:
    with stage.connect() as connection:
        try:
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # it had enough
        answer = everything(connection)
    assert not answer or answer[9:10] in (b"4", b"5"), answer[:100]
    assert stage.put(content(b"data"), b"data").status == 201


def test_garbage_harms_nobody(stage: DataStage) -> None:
    chance = random.Random(11)
    path = stage.path("PUT", content(b"data"))
    good = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ndata".encode()
    for _ in range(300):
        garbage = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(garbage))
            garbage[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        with stage.connect() as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            everything(connection)
    assert set(stage.stored()) <= {content(b"data").name}
    assert stage.put(content(b"data"), b"data").status == 201
    assert stage.get(content(b"data")).body == b"data"


def test_a_head_is_not_held_without_end(stage: DataStage) -> None:
    with stage.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nA: " + b"x" * (HEAD_BYTES + 8192))
        assert everything(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nA: b\r\n"])
def test_who_does_not_come_to_the_end_of_a_head_is_cut_off(stage: DataStage, sent: bytes) -> None:
    with stage.connect() as connection:
        connection.sendall(sent)
        assert stage.put(content(b"data"), b"data").status == 201  # so the one before was taken
        stage.late(HEAD_SECONDS - 1)
        connection.sendall(b"x")  # a trickle changes nothing
        stage.late(1.1)
        assert not everything(connection).startswith(b"HTTP/1.1 2")


def test_an_upload_that_trickles_is_cut_off_and_leaves_nothing(stage: DataStage) -> None:
    with stage.connect() as connection:
        head = (
            f"PUT {stage.path('PUT', content(bytes(MIB)))} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n"
        )
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        assert trickled(stage, connection) == b""
    assert stage.stored() == []


def trickled(stage: DataStage, connection: socket.socket) -> bytes | None:
    """Send a bit now and then, until that is ended; None when it never is.

    Three times is enough, from when the other thread has begun to wait for a piece on.
    """
    connection.settimeout(0.1)
    for _ in range(100):
        connection.sendall(bytes(1000))
        stage.late(PIECE_SECONDS / 3 + 0.1)
        with suppress(TimeoutError):
            return everything(connection)
    return None


def test_who_does_not_take_what_he_asked_for_is_cut_off(stage: DataStage) -> None:
    data = bytes(64 * MIB)
    stage.put(content(data), data)
    with stage.connect() as connection:
        connection.sendall(f"GET {stage.path('GET', content(data))} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(9) == b"HTTP/1.1 "
        eventually(lambda: stage.late(PIECE_SECONDS + 0.1) or not stage.server._open(), "it is cut off")
        assert len(everything(connection)) < len(data)


def test_silent_connections_make_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_server, "LEAST_SECONDS", 0.0)
    with data_stage(tmp_path / "blobs", most=8) as stage:
        silent = [stage.connect() for _ in range(40)]
        assert stage.put(content(b"data"), b"data").status == 201
        assert everything(silent[0]) == b""
        for connection in silent:
            connection.close()


def test_who_comes_while_all_are_at_work_is_sent_away(tmp_path: Path) -> None:
    with data_stage(tmp_path / "blobs", most=1) as stage, stage.connect() as first:
        path = stage.path("PUT", content(b"data"))
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        first.sendall(head.encode())
        assert first.recv(1000).startswith(b"HTTP/1.1 100 ")
        with stage.connect() as second:
            answer = everything(second)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 1\r\n" in answer
        first.sendall(b"data")
        assert first.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_two_requests_at_once_are_answered_one_after_the_other(stage: DataStage) -> None:
    stage.put(content(b"data"), b"data")
    with stage.connect() as connection:
        request = f"GET {stage.path('GET', content(b'data'))} HTTP/1.1\r\nHost: x\r\n"
        connection.sendall(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
        assert everything(connection).count(b"HTTP/1.1 200 OK\r\n") == 2


def test_a_body_that_nobody_reads_is_no_second_request(stage: DataStage) -> None:
    stage.put(content(b"data"), b"data")
    path = stage.path("GET", content(b"data"))
    hidden = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"
    with stage.connect() as connection:
        connection.sendall(
            f"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n{hidden}".encode()
        )
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.count(b"HTTP/1.1 ") == 1
