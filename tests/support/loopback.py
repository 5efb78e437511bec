"""A session without a network: frames go straight to `ScriptedSessions` and its answers straight back.

So unit tests run the whole engine, its threads excepted, in the test's own thread.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from support.scripted_sessions import ScriptedSessions

from taskyard._engine.submission.scope import Scope
from taskyard._network.session.session import Session
from taskyard_api.v1 import common_pb2, run_service_pb2, template_pb2
from taskyard_contract.blobs.names import name_of, sha256_name


class StoredBlobs:
    """The unary calls that the engine makes, over a dict."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def upload(self, ref: common_pb2.BlobRef, pieces: Sequence[bytes | memoryview]) -> None:
        self.blobs[name_of(ref)] = b"".join(pieces)

    def is_stored(self, digest: bytes) -> bool:
        return sha256_name(digest) in self.blobs

    def download(self, ref: common_pb2.BlobRef) -> memoryview:
        return memoryview(bytearray(self.blobs[name_of(ref)]))

    def call_pages(self, flow_run_id: bytes) -> Iterator[run_service_pb2.ListCallsResponse]:
        return iter(())

    def close(self) -> None:
        """Nothing to close."""


class LoopbackSession(Session):
    """A session whose control plane is a scripted one in the same thread."""

    def __init__(self, address: str = "unix:nowhere") -> None:
        super().__init__(lambda: address)
        self.script = ScriptedSessions()
        self.stored = StoredBlobs()
        self.script.blobs = self.stored.blobs
        self._templates: dict[int, template_pb2.RunTemplate] = {}
        self._sending = False
        self.silent = False
        """Whether nothing is sent, so that a test can look at what waits."""
        self.in_flight.on_welcome(self.script.welcome().welcome)

    def client(self) -> Any:
        return self.stored

    def wake(self) -> None:
        if self._sending or self.silent:
            return
        self._sending = True
        try:
            while (frame := self.in_flight.next_frame()) is not None:
                for answer in self.script.answers(frame, self._templates):
                    self.in_flight.on_frame(answer)
        finally:
            self._sending = False

    def reconnect(self) -> None:
        """Do what happens after a broken stream."""
        self._templates = {}
        self.in_flight.on_welcome(self.script.welcome().welcome)
        self.wake()

    def scope(self, **options: Any) -> Scope:
        """A place to call tasks from."""
        return Scope(self, **options)
