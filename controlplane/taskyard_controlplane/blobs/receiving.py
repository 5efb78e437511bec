"""What all stores do with a blob that comes in: check it on the way, whatever was said of it.

Invariant: what has the name of a content has that content, because it is computed here.
"""

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import xxhash
from blake3 import blake3

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import CONTENT, SHA256, name_of
from taskyard_contract.errors import DigestMismatch, StorageUnavailable


class ContentCheck:
    """Finds out whether content is what its reference says."""

    def __init__(self, seen: Any, expected: Callable[[], str]) -> None:
        """Compute `seen`, which is to come to what is `expected` at the end, in hexadecimal."""
        self._seen = seen
        self._expected = expected
        self.update = seen.update

    def is_right(self) -> bool:
        """Say whether everything that came is what was expected."""
        return bool(self._seen.hexdigest() == self._expected())


def check_of(ref: common_pb2.BlobRef) -> ContentCheck:
    """Return the check of a content, by its name: what it is named by is computed here.

    Of what has no hash in its name the reference may say the checksum later, before the check is asked for.
    """
    name = name_of(ref)
    if name.startswith(SHA256):
        return ContentCheck(hashlib.sha256(), lambda: name.removeprefix(SHA256))
    if name.startswith(CONTENT):
        return ContentCheck(blake3(), lambda: name.removeprefix(CONTENT))
    return ContentCheck(xxhash.xxh3_64(), lambda: f"{ref.checksum:016x}")


class Receiving(ABC):
    """A blob on its way in: see `Incoming`. Whoever inherits says where it goes."""

    def __init__(self, ref: common_pb2.BlobRef) -> None:
        """Receive a blob."""
        self.ref = ref
        self.name = name_of(ref)
        self._check = check_of(ref)
        self._received = 0
        self._at_work = threading.Lock()
        self._begun = self._ended = self._over = False

    @abstractmethod
    def begin(self) -> None:
        """Get ready for the first part; on failure leave nothing."""

    @abstractmethod
    def take(self, part: bytes | memoryview) -> None:
        """Put a part where it belongs."""

    @abstractmethod
    def keep(self) -> None:
        """Store what was taken, which is right, under its name."""

    @abstractmethod
    def abandon(self) -> None:
        """Leave nothing of what has begun; may come after any of the others has failed."""

    def write(self, part: bytes | memoryview) -> None:
        """Take the next part: see `Incoming.write`."""
        with self._working():
            self._check.update(part)
            self._received += len(part)
            self.take(part)

    def finish(self) -> None:
        """Store it under its name: see `Incoming.finish`."""
        with self._working():
            if self._received != self.ref.size or not self._check.is_right():
                raise DigestMismatch(f"the blob is not what {self.name} stands for; repeat the upload once")
            self.keep()
            self._ended = True

    def discard(self) -> None:
        """Leave nothing of it, or let the thread that is at work see to that: see `Incoming.discard`."""
        self._over = True
        if self._at_work.acquire(blocking=False):
            try:
                if self._begun and not self._ended:
                    self._ended = True
                    self.abandon()
            finally:
                self._at_work.release()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Have it for oneself, and leave nothing of it if it was discarded meanwhile."""
        try:
            with self._at_work:
                if self._over:
                    raise StorageUnavailable("the upload was given up")
                if not self._begun:
                    self.begin()
                    self._begun = True
                yield
        finally:
            if self._over:
                self.discard()


class ReceivingWhole(Receiving):
    """A blob on its way in that is small enough to be held until all of it is here."""

    def begin(self) -> None:
        """Hold nothing yet."""
        self.content = bytearray()

    def take(self, part: bytes | memoryview) -> None:
        """Hold a part."""
        self.content += part

    def abandon(self) -> None:
        """Let go of it."""
        self.content = bytearray()
