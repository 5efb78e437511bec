"""The requests of one connection: GET, HEAD and PUT of blobs.

Heads are read by the standard library's `http.server`. What it would hold, or wait for, without end is
bounded by the `Caller` below it.

Invariant: a connection on which something was not understood, or not read to its end, is closed: what follows
could be taken for another request.
"""

import http.server
import io
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import DigestMismatch, InvalidRequest, PayloadTooLarge, TaskyardError
from taskyard_contract.transport.http_requests import BLOB_HEADER
from taskyard_controlplane.blobs.directory import DirectoryStore
from taskyard_controlplane.blobs.interface import Incoming
from taskyard_controlplane.data_process.callers import (
    PIECE_BYTES,
    PIECE_SECONDS,
    Caller,
    HeadTooLarge,
    Received,
)
from taskyard_controlplane.data_process.ranges import RangeNotSatisfiable, Span, span_of
from taskyard_controlplane.data_process.refusals import Refused
from taskyard_controlplane.data_process.tickets import Seal, Ticket
from taskyard_controlplane.data_process.uploads import WAIT_SECONDS, Uploads

FINISH_SECONDS: Final = 600.0
"""For what the disk still has to do with an upload: a disk is slow, but no peer that holds somebody up."""
DRAIN_SECONDS: Final = 2.0
"""So long what a refused caller still sends is thrown away: to close at once could take the answer away."""
MOST_LENGTH_DIGITS: Final = 20

_log = logging.getLogger(__name__)


class Desk(NamedTuple):
    """What all connections share."""

    store: DirectoryStore
    seal: Seal
    uploads: Uploads


class Requests(http.server.BaseHTTPRequestHandler):
    """Answers a connection until it ends."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # whoever says none is answered with a head, as all others
    error_message_format = "%(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    disable_nagle_algorithm = True

    def __init__(self, caller: Caller, desk: Desk) -> None:
        """Answer a caller; returns when the connection is over."""
        self._caller = caller
        self._desk = desk
        self._buffer: memoryview | None = None
        self._waits_for_word = self._drains = False
        super().__init__(caller.socket, ("", 0), None)  # type: ignore[arg-type]  # there is no such server

    def setup(self) -> None:
        """Read by way of what has limits."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(Received(self._caller))

    def handle(self) -> None:
        """Answer request after request."""
        with suppress(OSError):  # the caller went, or was cut off
            try:
                super().handle()
            except HeadTooLarge:
                self.requestline = self.request_version = self.command = ""
                self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            if self._drains:
                self._drain()

    def finish(self) -> None:
        """Leave the connection to whoever has accepted it."""
        with suppress(OSError, ValueError):
            super().finish()

    def handle_one_request(self) -> None:
        """Read a head, and answer it."""
        self._caller.expect_head()
        self._waits_for_word = False
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Note that the caller waits for a word before it sends; it gets one when somebody would listen."""
        self._waits_for_word = True
        return True

    def do_GET(self) -> None:  # the name that `http.server` looks for
        """Send a blob, or some of its bytes."""
        self._answer("GET", self._send)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        """Store a blob."""
        self._answer("PUT", self._store)

    def version_string(self) -> str:
        """Return what serves."""
        return "taskyard"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: paths have what lets one in."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what was not understood, which ends the connection."""
        self._drains = True
        super().send_error(code, message, explain)

    def _answer(self, method: str, does: Callable[[Ticket], None]) -> None:
        self._caller.expect_piece()
        if method == "GET" and ("Content-Length" in self.headers or "Transfer-Encoding" in self.headers):
            self.close_connection = self._drains = True  # a body that nobody reads
        try:
            does(self._desk.seal.ticket(method, self.path))
        except TaskyardError as error:
            self._refuse(Refused(error))
        except Refused as refused:
            self._refuse(refused)
        except OSError:
            self.close_connection = True
            raise
        except Exception:
            _log.exception("a request to the data process failed")
            self._refuse(Refused(TaskyardError("this request failed; the log of the server says why")))

    def _refuse(self, refused: Refused) -> None:
        if self.command == "PUT":  # its body is on its way
            self.close_connection = self._drains = True
        body = b"" if self.command == "HEAD" else f"{refused.error}\n".encode()
        headers = refused.headers() | {"Content-Type": "text/plain; charset=utf-8"}
        self._head(refused.status, headers, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, ticket: Ticket) -> None:
        with self._desk.store.opened(ticket.name) as descriptor:
            size = os.fstat(descriptor).st_size
            headers = {"Accept-Ranges": "bytes", BLOB_HEADER: ticket.name}
            try:
                span = span_of(self.headers.get("Range"), size)
            except RangeNotSatisfiable:
                self._head(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"}, 0
                )
                return
            status, start, end = HTTPStatus.OK, 0, size
            if span is not None:
                status, (start, end) = HTTPStatus.PARTIAL_CONTENT, span
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            headers["Content-Type"] = "application/octet-stream"
            self._head(status, headers, end - start)
            if self.command == "GET":
                self._send_file(descriptor, Span(start, end))

    def _send_file(self, descriptor: int, span: Span) -> None:
        start = span.start
        while start < span.end:
            self._caller.expect_piece()
            sent = os.sendfile(
                self.connection.fileno(), descriptor, start, min(PIECE_BYTES, span.end - start)
            )
            if not sent:  # the file ends before it should: the caller sees that too
                self.close_connection = True
                return
            start += sent

    def _store(self, ticket: Ticket) -> None:
        size = self._length(ticket)
        ref = common_pb2.BlobRef(name=ticket.name, size=size, checksum=ticket.checksum)
        self._caller.expect_piece(WAIT_SECONDS + PIECE_SECONDS)
        with self._desk.uploads.place():
            incoming = self._desk.store.receive(ref)
            try:
                self._take(incoming, size)
                self._caller.expect_piece(FINISH_SECONDS)
                with self._desk.uploads.writing(size):
                    _finish(incoming)
            finally:
                incoming.discard()
        self._head(HTTPStatus.CREATED, {BLOB_HEADER: ticket.name}, 0)

    def _length(self, ticket: Ticket) -> int:
        """Return how long the body is: as long as was said when it was let in.

        Raises:
            Refused: It has another length, or none.
            PayloadTooLarge: It is longer.
        """
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or not lengths:
            text = "a blob is sent with its length; set Content-Length, and no Transfer-Encoding"
            raise Refused(InvalidRequest(text), HTTPStatus.LENGTH_REQUIRED)
        [length, *more] = lengths
        if more or not (length.isascii() and length.isdigit()) or len(length) > MOST_LENGTH_DIGITS:
            raise Refused(InvalidRequest("Content-Length is no number"))
        if int(length) > ticket.size:
            text = f"the blob was to have {ticket.size:,} bytes, and is sent with {int(length):,}"
            raise PayloadTooLarge(text, limit=ticket.size)
        if int(length) < ticket.size:
            raise DigestMismatch(f"the blob was to have {ticket.size:,} bytes, not {int(length):,}")
        return ticket.size

    def _take(self, incoming: Incoming, size: int) -> None:
        """Receive a blob, piece by piece, each into the same memory."""
        if self._waits_for_word:
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        if self._buffer is None:
            self._buffer = memoryview(bytearray(PIECE_BYTES))
        missing = size
        while True:
            self._caller.expect_piece()
            piece = self._buffer[: min(missing, PIECE_BYTES)]
            if self.rfile.readinto(piece) < len(piece):
                raise ConnectionAbortedError("the caller went in the middle of an upload")
            self._caller.expect_piece(FINISH_SECONDS)
            with self._desk.uploads.writing(size):
                incoming.write(piece)
            missing -= len(piece)
            if not missing:
                return

    def _drain(self) -> None:
        """Let a caller who was refused hear that: it may still be sending."""
        self._caller.expect_piece(DRAIN_SECONDS)
        self.connection.shutdown(socket.SHUT_WR)
        buffer = bytearray(PIECE_BYTES)
        while self.connection.recv_into(buffer):
            pass


def _finish(incoming: Incoming) -> None:
    """Let an upload have its name.

    Raises:
        Refused: Another result has it.
        TaskyardError: As the store says.
    """
    try:
        incoming.finish()
    except InvalidRequest as error:
        raise Refused(error, HTTPStatus.CONFLICT) from None
