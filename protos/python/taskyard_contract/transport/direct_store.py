"""Stores one blob by HTTP: one PUT of all of it, which stores all or nothing.

Who stores it for the control plane checks what comes, as the control plane does. A provider of object storage
does not know the checksum of a blob, but one of its own, which the request has: what is damaged on its way is
refused, and so is what is cut off, when this process is killed for example. (Some take the part that came for
all of it otherwise.) That what is sent is what was meant is checked here then.
"""

import hashlib
import http.client
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import name_of
from taskyard_contract.errors import DigestMismatch
from taskyard_contract.transport.blob_transfer import check_of
from taskyard_contract.transport.http_requests import (
    BLOB_HEADER,
    Broken,
    Elsewhere,
    Requests,
    Unusable,
    Where,
    answer_of,
    lost,
    send_head,
)

SENT_BYTES: Final = 1024 * 1024


class Source(Protocol):
    """What is to be stored. It can be read again and again."""

    def parts(self) -> Iterator[bytes | memoryview]:
        """Iterate over all of it, in order.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def send(self, connection: http.client.HTTPConnection, size: int) -> int:
        """Send `size` bytes of it, or what there is; returns how many.

        Raises:
            OSError: The connection has ended, or it cannot be read.
        """
        ...


class FileSource:
    """A file; the kernel sends it where nothing has to be encrypted."""

    def __init__(self, path: Path) -> None:
        """Send what is there when it is asked for."""
        self._path = path

    def parts(self) -> Iterator[bytes]:
        """See `Source`."""
        with self._path.open("rb") as file:
            while part := file.read(SENT_BYTES):
                yield part

    def send(self, connection: http.client.HTTPConnection, size: int) -> int:
        """See `Source`."""
        with self._path.open("rb") as file:
            return connection.sock.sendfile(file, 0, size)


class MemorySource:
    """Pieces in memory."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send these."""
        self._pieces = pieces

    def parts(self) -> Iterator[bytes | memoryview]:
        """See `Source`."""
        yield from self._pieces

    def send(self, connection: http.client.HTTPConnection, size: int) -> int:
        """See `Source`."""
        sent = 0
        for piece in self._pieces:
            view = memoryview(piece).cast("B")
            sent += len(view)
            for start in range(0, len(view), SENT_BYTES):
                connection.sock.sendall(view[start : start + SENT_BYTES])
        return sent


class Storing:
    """One blob on its way, over as many attempts as it takes; one at a time."""

    def __init__(self, ref: common_pb2.BlobRef, source: Source) -> None:
        """Store what a source has."""
        self._ref = ref
        self._source = source
        self._requests = Requests()
        self._is_checked = False
        self._md5 = ""

    progress: int = 0
    """Each attempt begins at the start."""

    def stop(self) -> None:
        """Give it up, from another thread; whoever runs it is told that it is broken."""
        self._requests.stop()

    def run(self, where: Where, *, is_checked: bool) -> None:
        """Store it.

        Args:
            where: To whom it goes.
            is_checked: Whether that one compares it with its name or checksum.

        Raises:
            HttpFailure: It was not taken, or nobody has said that it was.
            DigestMismatch: It is not what it is said to be.
            OSError: It cannot be read.
        """
        more = {"Content-Length": str(self._ref.size)}
        self._is_checked = is_checked
        if not is_checked:
            self._md5 = self._md5 or self._checked()
            more["Content-MD5"] = self._md5
        connection = self._requests.connect(where)
        try:
            send_head(connection, "PUT", where, more)
            self._send(connection)
        finally:
            self._requests.close(connection)

    def _checked(self) -> str:
        """Check what is to be sent; returns what a provider compares it with."""
        seen, expected = check_of(self._ref)
        try:
            md5 = hashlib.md5(usedforsecurity=False)
        except ValueError:
            raise Unusable("needs a checksum that this machine does not allow") from None
        size = 0
        for part in self._source.parts():
            seen.update(part)
            md5.update(part)
            size += len(memoryview(part).cast("B"))
        if size != self._ref.size or seen.digest() != expected:
            raise DigestMismatch(f"{name_of(self._ref)} is not what is to be stored, but damaged")
        return b64encode(md5.digest()).decode()

    def _send(self, connection: http.client.HTTPConnection) -> None:
        """Send the content; who does not want it, or has it, may say so before the end and hang up."""
        try:
            sent = self._source.send(connection, self._ref.size)
        except FileNotFoundError:
            raise
        except OSError as error:
            try:
                self._confirmed(connection)
            except Broken:
                raise lost(error) from None
        else:
            if sent != self._ref.size:
                raise Elsewhere("was not sent all of a blob: there is less")
            self._confirmed(connection)

    def _confirmed(self, connection: http.client.HTTPConnection) -> None:
        """Read the answer. A success is only believed of who names the blob, if nobody is asked afterwards:
        by now another program may listen where the control plane's was.
        """
        with answer_of(connection) as answer:
            if self._is_checked and answer.headers.get(BLOB_HEADER) != name_of(self._ref):
                raise Unusable("has not said which blob it stored; it is another program")
