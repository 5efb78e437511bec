"""The HTTP port under callers who mean no good, or have a bad network."""

import http.client
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus

import pytest

from taskyard_controlplane import http_port
from taskyard_controlplane.http_port import Answer, HttpPort
from taskyard_controlplane.rpc.addresses import ListenFailed

SLOW = 200
LARGE = Answer(HTTPStatus.OK, b"x" * 8_000_000)


def broken(accepted: str) -> Answer:
    raise RuntimeError(accepted)


PATHS = {
    "/healthz": lambda accepted: Answer(HTTPStatus.OK, b"ok\n"),
    "/large": lambda accepted: LARGE,
    "/broken": broken,
}


@pytest.fixture
def port() -> Iterator[HttpPort]:
    made = HttpPort("127.0.0.1:0")
    made.start(PATHS)
    yield made
    made.stop()


def connect(port: HttpPort) -> socket.socket:
    host, _, number = port.address.rpartition(":")
    return socket.create_connection((host, int(number)), timeout=10)


def ask(port: HttpPort, method: str = "GET", path: str = "/healthz", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(port.address, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_methods_and_paths_have_their_answers(port: HttpPort) -> None:
    assert ask(port) == (200, b"ok\n")
    assert ask(port, path="/healthz?verbose") == (200, b"ok\n")
    assert ask(port, "HEAD") == (200, b"")
    assert ask(port, "POST")[0] == 405
    assert ask(port, path="/") == (404, b"there are /healthz and /large and /broken\n")
    assert ask(port, path="/large") == (200, LARGE.body)


def test_a_path_that_fails_is_told_and_logged(port: HttpPort, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(port, path="/broken", Accept="text/x")[0] == 500
    assert "text/x" in caplog.text
    assert ask(port) == (200, b"ok\n")


@pytest.mark.parametrize("request_line", ["nonsense", "GET /healthz", "GET /healthz SPDY/3", "\x16\x03\x01"])
def test_what_is_no_request_is_told_so(port: HttpPort, request_line: str) -> None:
    with connect(port) as caller:
        caller.sendall(f"{request_line}\r\n\r\n".encode())
        assert caller.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_headers_beyond_all_measure_are_refused(port: HttpPort) -> None:
    assert ask(port, **{"X-Large": "x" * 100_000})[0] == 431


def test_a_body_is_thrown_away_and_has_an_end(port: HttpPort) -> None:
    with connect(port) as caller:
        caller.sendall(b"POST /healthz HTTP/1.1\r\n\r\n")
        assert caller.recv(1000).startswith(b"HTTP/1.1 405 ")
        caller.sendall(b"x" * 500_000)
        assert not _ended(caller, 100), "it may read the answer in its own time"
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            caller.sendall(b"x" * 100_000_000)


def test_a_probe_is_answered_at_once_among_slow_callers_without_a_thread_each(port: HttpPort) -> None:
    threads = threading.active_count()
    with ExitStack() as stack:
        for _ in range(SLOW):
            caller = stack.enter_context(connect(port))
            caller.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        began = time.monotonic()
        assert ask(port) == (200, b"ok\n")
        assert time.monotonic() - began < 1, "what a kubelet waits for"
        assert threading.active_count() <= threads  # those of other tests may end meanwhile


def test_beyond_the_limit_the_oldest_makes_room(port: HttpPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_port, "MAX_CONNECTIONS", 3)
    with ExitStack() as stack:
        callers = [stack.enter_context(connect(port)) for _ in range(3)]
        assert ask(port) == (200, b"ok\n")
        assert _ended(callers[0])


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /large HTTP/1.1\r\n\r\n"])
def test_whoever_is_slow_has_his_time_and_no_more(
    port: HttpPort, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_port, "REQUEST_SECONDS", 0.2)
    with connect(port) as caller:
        caller.sendall(sent)
        assert _ended(caller)


def _ended(caller: socket.socket, milliseconds: int = 10_000) -> bool:
    """Whether a connection is broken off from the other side in this time, while nothing is read."""
    poll = select.poll()
    poll.register(caller, select.POLLHUP)
    return bool(poll.poll(milliseconds))


def test_a_port_that_was_never_started_is_closed_all_the_same() -> None:
    made = HttpPort("127.0.0.1:0")
    with pytest.raises(ListenFailed):
        HttpPort(made.address)
    made.stop()
    HttpPort(made.address).stop()
