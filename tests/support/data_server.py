"""A server of the data process in this process, on a free port, and clients for it."""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
from blake3 import blake3

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import name_of
from taskyard_controlplane.blobs.directory import DirectoryStore
from taskyard_controlplane.data_process.requests import Desk
from taskyard_controlplane.data_process.server import DataServer
from taskyard_controlplane.data_process.tickets import Seal
from taskyard_controlplane.data_process.uploads import Uploads

SECONDS = 20.0
RESULT = "run-" + "0a" * 16 + "-" + "0" * 15 + "1"


class Clock:
    """Seconds that a test can add to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Answer(NamedTuple):
    """What was answered."""

    status: int
    headers: Any
    body: bytes

    @property
    def error(self) -> str:
        return str(self.headers.get("Taskyard-Error", ""))


def content(data: bytes) -> common_pb2.BlobRef:
    """Return the reference of a content."""
    return common_pb2.BlobRef(name="b3-" + blake3(data).hexdigest(), size=len(data))


def result(data: bytes) -> common_pb2.BlobRef:
    """Return the reference of the one result that tests have."""
    return common_pb2.BlobRef(name=RESULT, size=len(data), checksum=xxhash.xxh3_64_intdigest(data))


class DataStage:
    """A store, a server for it, and what lets one in."""

    def __init__(self, directory: Path, **options: Any) -> None:
        BlobDirectory(directory).make()
        self.clock = Clock()
        self.store = DirectoryStore(directory)
        self.seal = Seal(b"k" * 32, self.clock)
        self.uploads: Uploads = options.pop("uploads", Uploads())
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        desk = Desk(self.store, self.seal, self.uploads)
        self.server = DataServer(self.listener, desk, clock=self.clock, **options)
        self.server.start()

    def path(self, method: str, ref: common_pb2.BlobRef, seconds: float = 60.0) -> str:
        """Return what lets one in."""
        return self.seal.path(method, name_of(ref), ref.size, ref.checksum, seconds)

    def connect(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Make a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            return asked(connection, method, path, body, **headers)
        finally:
            connection.close()

    def put(self, ref: common_pb2.BlobRef, data: bytes) -> Answer:
        """Store a blob."""
        return self.ask("PUT", self.path("PUT", ref), data)

    def get(self, ref: common_pb2.BlobRef, **headers: str) -> Answer:
        """Read a blob."""
        return self.ask("GET", self.path("GET", ref), **headers)

    def late(self, seconds: float) -> None:
        """Let so much time pass, and those be cut off who are too slow."""
        self.clock.ahead += seconds
        self.server.cut_late()

    def stored(self) -> list[str]:
        """Return what there is in the store, also what was not finished."""
        return [found.name for found in self.store.list()]

    def close(self) -> None:
        """End it, and let those go who have connected."""
        self.server.stop()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> Answer:
    """Make a request on a connection."""
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


@contextmanager
def data_stage(directory: Path, **options: Any) -> Iterator[DataStage]:
    """Serve a directory as long as a test needs it."""
    stage = DataStage(directory, **options)
    try:
        yield stage
    finally:
        stage.close()


def everything(connection: socket.socket) -> bytes:
    """Read until the other side ends the connection, in whatever way."""
    received = bytearray()
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:
        pass
    return bytes(received)
