"""A small server of blobs by HTTP, which does wrong what a test wants; and a control plane that grants it."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from taskyard_api.v1 import blob_service_pb2 as pb

SECRET = "signature-that-lets-in"

Fault = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """One connection. `Host.faults` say what happens to the next requests."""

    protocol_version = "HTTP/1.1"
    server: "Host"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._note()
        data = self.server.blobs.get(self._name())
        if fault := self.server.next_fault():
            fault(self, data or b"")
        elif data is None:
            self.answer(404)
        else:
            self.send(data)

    def do_PUT(self) -> None:
        self._note()
        if fault := self.server.next_fault():
            fault(self, b"")
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("If-None-Match") == "*" and self._name() in self.server.blobs:
            self.answer(412)
            return
        self.server.blobs[self._name()] = data
        self.answer(200, Taskyard_Blob=self._name())

    def _note(self) -> None:
        with self.server.lock:
            self.server.requests.append((self.command, self.headers.get("Range", "")))
            self.server.headers.append(dict(self.headers))

    def _name(self) -> str:
        return self.path.partition("?")[0].strip("/")

    def answer(self, status: int, **headers: str) -> None:
        """Answer without anything but a status, and end: nothing else was read."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(SECRET)))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(SECRET.encode())  # as providers do, which repeat what they were asked
        self.close_connection = True

    def send(self, data: bytes, only: int | None = None) -> None:
        """Send what was asked for, or only the first bytes of it."""
        start, end, asked = 0, len(data), self.headers.get("Range", "")
        if asked and self.server.knows_ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), int(last) + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self.wfile.write(data[start:end][:only])
        self.close_connection = only is not None


class Host(ThreadingHTTPServer):
    """The server."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.blobs: dict[str, bytes] = {}
        self.faults: deque[Fault | None] = deque()
        """What happens to the next requests, one after the other; None: nothing wrong."""
        self.always: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.knows_ranges = True
        self.lock = threading.Lock()

    def next_fault(self) -> Fault | None:
        with self.lock:
            return self.faults.popleft() if self.faults else self.always

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # who is cut off on purpose


def status(number: int, **headers: str) -> Fault:
    return lambda handler, _: handler.answer(number, **headers)


def cut(after: int) -> Fault:
    """Send so many bytes, and end."""
    return lambda handler, data: handler.send(data, after)


def instead(data: bytes) -> Fault:
    return lambda handler, _: handler.send(data)


def hang_up(handler: Handler, _: bytes) -> None:
    """Take all that comes, and end without an answer."""
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    handler.close_connection = True


@contextmanager
def running_host() -> Iterator[Host]:
    with Host() as host:
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield host
        finally:
            host.shutdown()
            thread.join()


class Granting:
    """What a control plane answers who asks for grants."""

    def __init__(self, host: Host) -> None:
        self.port = int(host.server_address[1])
        self.asked: list[str] = []
        self.told: list[str] = []
        self.missing: list[str] = []
        self.confirm = False
        self.grants = True
        self.error: BaseException | None = None

    async def GrantTransfers(self, request: Any, timeout: float) -> Any:  # noqa: N802
        refs = [*request.reads, *request.writes]
        self.asked += [ref.name for ref in refs]
        if self.error is not None:
            raise self.error
        answer = pb.GrantTransfersResponse()
        if self.grants:
            into = answer.reads if request.reads else answer.writes
            into.add(
                name=refs[0].name, url=f"/{refs[0].name}?sig={SECRET}", port=self.port,
                headers={"If-None-Match": "*"} if request.writes else {}, confirm=self.confirm,
            )  # fmt: skip
        return answer

    async def FindMissingBlobs(self, request: Any, timeout: float) -> Any:  # noqa: N802
        self.told += request.names
        return pb.FindMissingBlobsResponse(missing_names=self.missing)
