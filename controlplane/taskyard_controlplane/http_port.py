"""The HTTP port: a few paths, answered by one thread with an event loop of its own.

A loop of its own, because whoever asks wants to know whether the owner's is stuck; one thread for all
connections, because anybody may open as many as he likes. What the usual servers lack and this needs is that
slow callers are bounded in time and number, so that the next probe is answered at once whatever others do
(docs/adr/0014-http-port.md):

- a request has to be there, and its answer taken, within `REQUEST_SECONDS`;
- beyond `MAX_CONNECTIONS` the oldest one makes room: it had its time, and the newest may be a probe;
- a head beyond `MAX_HEAD_BYTES` is refused, a body is thrown away, each connection is for one request.
"""

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple, cast

from taskyard_contract.programs.event_loops import new_event_loop
from taskyard_controlplane.rpc.addresses import ListenFailed, ensure_free, split_host_port

REQUEST_SECONDS: Final = 5.0
"""From the connection to the end of the answer. On a network that works it is a few milliseconds."""
LEAST_SECONDS: Final = 0.05
"""So long nobody makes room for others: what the loop needs to hear a caller who speaks at once."""
MAX_CONNECTIONS: Final = 256
"""At a time; with their buffers some 10 MB at most. They share the owner's limit of open files."""
MAX_HEAD_BYTES: Final = 8 * 1024
"""Of the request's line and headers; scrapers and probes send a few hundred."""
MAX_RECEIVED_BYTES: Final = 1024 * 1024
"""Of everything that a caller sends, before it is cut off in the middle."""
RETRY_SECONDS: Final = 0.5
"""After a connection could not be taken, for want of descriptors for example."""
_BACKLOG: Final = 1024  # the kernel keeps those who came too fast; beyond, they try again after a second
_NO_LINGERING: Final = struct.pack("ii", 1, 0)
_END: Final = b"\r\n\r\n"

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a path answers."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Paths = Mapping[str, Callable[[str], Answer]]
"""What answers each path; called with the media types that the caller takes. Quick, for all have to wait."""


class HttpPort:
    """Answers GET and HEAD of some paths."""

    def __init__(self, listen: str) -> None:
        """Listen on ``HOST:PORT``; callers wait until `start`.

        Raises:
            ListenFailed: The address cannot be bound.
        """
        ensure_free(listen)
        host, port = split_host_port(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ListenFailed(f"{listen} cannot be listened on: {error.strerror}") from None
        self._socket.setblocking(False)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._paths: Paths = {}
        self._connections: dict[_Connection, None] = {}  # the oldest first
        self._loop = new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self, paths: Paths) -> None:
        """Answer from here on."""
        self._paths = paths
        self._thread.start()

    def stop(self) -> None:
        """Close the port, and all connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        else:
            self._loop.close()
        self._socket.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        taking = asyncio.create_task(self._take_all())
        await self._stopping.wait()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        for connection in list(self._connections):
            connection.end()

    async def _take_all(self) -> None:
        while True:
            try:
                await self._take_one()
            except OSError as error:
                _log.warning("cannot take a connection on %s: %s", self.address, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _take_one(self) -> None:
        accepted, _ = await self._loop.sock_accept(self._socket)
        try:
            await self._make_room()
            connected = partial(_Connection, self._answer, self._connections)
            await self._loop.connect_accepted_socket(connected, accepted)
        except BaseException:
            accepted.close()
            raise

    async def _make_room(self) -> None:
        while len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            remaining = oldest.since + LEAST_SECONDS - self._loop.time()
            if remaining > 0:
                await asyncio.sleep(remaining)
            oldest.end()

    def _answer(self, head: str) -> tuple[Answer, bool]:
        """Return the answer to a request, and whether its body is wanted."""
        line, *headers = head.split("\r\n")
        method, _, rest = line.partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            return _plain(HTTPStatus.BAD_REQUEST), True
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED), True
        path = self._paths.get(target.partition("?")[0])
        if path is None:
            known = " and ".join(self._paths)
            return Answer(HTTPStatus.NOT_FOUND, f"there are {known}\n".encode()), method == "GET"
        fields = (each.partition(":") for each in headers)
        return path(",".join(value for name, _, value in fields if name.lower() == "accept")), method == "GET"


class _Connection(asyncio.Protocol):
    """One caller: a request, an answer, and the end."""

    def __init__(
        self, answer: Callable[[str], tuple[Answer, bool]], connections: dict["_Connection", None]
    ) -> None:
        """Be answered by `answer`, and be among `connections` while it lasts."""
        self._answer = answer
        self._connections = connections
        self._head = bytearray()
        self._received = 0
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = loop.call_later(REQUEST_SECONDS, self.end)
        self._connections[self] = None

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if not self._answered:
            self._head += data
            self._hear()
        # What comes after the request is read until the caller closes: to close first could take the answer
        # away from it.
        if self._received > MAX_RECEIVED_BYTES:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._connections.pop(self, None)

    def end(self) -> None:
        """Be done with a caller who is too slow or in the way; the kernel keeps no answer either."""
        self._connections.pop(self, None)
        with suppress(OSError):  # it is gone already
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING
            )
        self._transport.abort()

    def _hear(self) -> None:
        end = self._head.find(_END, 0, MAX_HEAD_BYTES)
        if end >= 0:
            self._say(*self._answered_safely(self._head[:end].decode("latin-1")))
        elif len(self._head) >= MAX_HEAD_BYTES:
            self._say(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), True)

    def _answered_safely(self, head: str) -> tuple[Answer, bool]:
        try:
            return self._answer(head)
        except Exception:
            _log.exception("a request on the HTTP port failed")
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR), True

    def _say(self, answer: Answer, wanted: bool) -> None:
        self._answered = True
        self._head.clear()
        self._transport.write(_written(answer, body=wanted))
        self._transport.write_eof()


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status, f"{status.phrase}\n".encode())


def _written(answer: Answer, *, body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
    return head + answer.body if body else head
