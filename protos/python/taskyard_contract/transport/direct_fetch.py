"""Reads one blob by HTTP, in several ranges at a time.

A small blob is one request. Of a large one the first range is asked for alone: its answer tells whether there
is such a blob, and whether ranges are understood at all; then further connections take the other ranges. What
has arrived stays when a connection breaks: the next attempt asks for the rest.
Invariant: whoever was told that all is there has what the name, or the checksum, stands for.
"""

import errno
import http.client
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

from taskyard_api.v1 import common_pb2
from taskyard_contract.programs.private_files import opener
from taskyard_contract.transport.blob_transfer import check_of
from taskyard_contract.transport.http_requests import (
    Broken,
    Elsewhere,
    Requests,
    Unreachable,
    Unusable,
    Where,
    answer_of,
    lost,
    send_head,
)

RANGE_BYTES: Final = 8 * 1024 * 1024
"""Of one request: less would wait for the network too often, more would not spread over connections."""
CONNECTIONS: Final = 4
READ_BYTES: Final = 1024 * 1024


class Target(Protocol):
    """Where a blob is put. Threads put different parts of it at the same time."""

    def begin(self) -> None:
        """Have room for all of it; called before each attempt.

        Raises:
            OSError: There is none.
        """
        ...

    def put(self, start: int, part: memoryview) -> None:
        """Put bytes where they belong.

        Raises:
            OSError: They cannot be written.
        """
        ...

    def parts(self) -> Iterator[bytes | memoryview]:
        """Iterate over all of it, in order."""
        ...


class FileTarget:
    """A file for this user alone, made when the first bytes are about to come. Used by `with`."""

    def __init__(self, path: Path, size: int) -> None:
        """Write to a file that is not there yet, or that nobody reads."""
        self._path = path
        self._size = size
        self._file: BinaryIO | None = None
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def begin(self) -> None:
        """See `Target`."""
        if self._file is None:
            self._file = open(self._path, "w+b", buffering=0, opener=opener)  # noqa: SIM115  # see `__exit__`
            self._descriptor = self._file.fileno()
            try:
                os.posix_fallocate(self._descriptor, 0, self._size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems that cannot
                    raise

    def put(self, start: int, part: memoryview) -> None:
        """See `Target`."""
        while part:
            written = os.pwrite(self._descriptor, part, start)
            start, part = start + written, part[written:]

    def parts(self) -> Iterator[bytes]:
        """See `Target`. It comes from memory: it was written just now."""
        for start in range(0, self._size, READ_BYTES):
            yield os.pread(self._descriptor, min(READ_BYTES, self._size - start), start)


class MemoryTarget:
    """Memory of this process."""

    def __init__(self, size: int) -> None:
        """Take as much, when it comes."""
        self._size = size
        self.content = memoryview(b"")

    def begin(self) -> None:
        """See `Target`."""
        if not self.content:
            self.content = memoryview(bytearray(self._size))

    def put(self, start: int, part: memoryview) -> None:
        """See `Target`."""
        self.content[start : start + len(part)] = part

    def parts(self) -> Iterator[memoryview]:
        """See `Target`."""
        yield self.content


class Fetching:
    """One blob on its way, over as many attempts as it takes; one at a time."""

    def __init__(self, ref: common_pb2.BlobRef, target: Target) -> None:
        """Put a blob, which is not empty, into a target."""
        self._ref = ref
        self._target = target
        self._requests = Requests()
        self._lock = threading.Lock()
        self._missing: deque[tuple[int, int]] = deque()
        self._failure: Exception | None = None
        self._forget()

    @property
    def progress(self) -> int:
        """How many bytes have arrived."""
        return self._ref.size - sum(end - start for start, end in self._missing)

    def stop(self) -> None:
        """Give it up, from another thread; whoever runs it is told that it is broken."""
        self._requests.stop()

    def run(self, where: Where) -> None:
        """Fetch what is missing, and check all of it.

        Raises:
            HttpFailure: It did not come.
            OSError: The target does not take it.
        """
        self._failure = None
        self._target.begin()
        if self._missing:
            self._read_pieces(where, is_first=True)
        if self._failure is not None:
            raise self._failure
        seen, expected = check_of(self._ref)
        for part in self._target.parts():
            seen.update(part)
        if seen.digest() != expected:
            self._forget()
            raise Elsewhere("has sent something else")

    def _forget(self) -> None:
        size = self._ref.size
        self._missing = deque(
            (start, min(size, start + RANGE_BYTES)) for start in range(0, size, RANGE_BYTES)
        )

    def _read_pieces(self, where: Where, *, is_first: bool = False) -> None:
        """Take pieces one after the other, on a connection, as long as there are any and nothing failed."""
        others, is_alone = list[threading.Thread](), is_first
        try:
            try:
                connection = self._requests.connect(where)
            except Unreachable:
                if is_alone:
                    raise
                return  # it may only take so many
            try:
                while self._failure is None and (piece := self._next()) is not None:
                    with self._asked(connection, where, piece) as answer:
                        if answer.status != http.client.PARTIAL_CONTENT:
                            self._read_all(answer, is_first)
                            return
                        if is_first:
                            others, is_first = self._more(where), False
                        self._read(answer, *piece)
            finally:
                self._requests.close(connection)
        except Exception as error:  # raised by `run`, in the thread that waits for all of them
            self._failure = self._failure or error
        for thread in others:
            thread.join()

    def _next(self) -> tuple[int, int] | None:
        with self._lock, suppress(IndexError):
            return self._missing.popleft()
        return None

    def _more(self, where: Where) -> list[threading.Thread]:
        """Begin to fetch on more connections; what cannot have a thread goes on with fewer."""
        threads = list[threading.Thread]()
        with suppress(RuntimeError):
            for _ in range(min(CONNECTIONS - 1, len(self._missing))):
                thread = threading.Thread(
                    target=self._read_pieces, args=[where], name="blob range", daemon=True
                )
                thread.start()
                threads.append(thread)
        return threads

    def _asked(
        self, connection: http.client.HTTPConnection, where: Where, piece: tuple[int, int]
    ) -> http.client.HTTPResponse:
        """Ask for a piece; it is missing again unless it comes."""
        start, end = piece
        try:
            ranged = {"Range": f"bytes={start}-{end - 1}"} if (start, end) != (0, self._ref.size) else {}
            send_head(connection, "GET", where, ranged)
            return answer_of(connection)
        except Exception:
            self._again(start, end)
            raise

    def _check_range(self, answer: http.client.HTTPResponse, start: int, end: int) -> None:
        said = answer.headers.get("Content-Range", "")
        total = said.rpartition("/")[2]
        if total != "*" and total != str(self._ref.size):
            raise Elsewhere("has a blob of another size")
        if said.rpartition("/")[0] != f"bytes {start}-{end - 1}" or answer.length != end - start:
            raise Unusable("sends other ranges than it is asked for")

    def _again(self, start: int, end: int) -> None:
        if start < end:
            with self._lock:
                self._missing.appendleft((start, end))

    def _read(self, answer: http.client.HTTPResponse, start: int, end: int) -> None:
        """Read a range; what does not come of it is missing again."""
        buffer = memoryview(bytearray(min(READ_BYTES, end - start)))
        try:
            if answer.status == http.client.PARTIAL_CONTENT:
                self._check_range(answer, start, end)
            while start < end:
                part = _part(answer, buffer[: end - start])
                self._target.put(start, part)
                start += len(part)
            answer.read()  # nothing: lets the connection be used again
        finally:
            self._again(start, end)

    def _read_all(self, answer: http.client.HTTPResponse, is_first: bool) -> None:
        """Read all of a blob, from who knows no ranges."""
        size = self._ref.size
        with self._lock:
            self._missing.clear()
        try:
            if not is_first:
                raise Unusable("sends ranges only at times")
            if answer.length != size:
                raise Elsewhere("has a blob of another size")
            self._read(answer, 0, size)
        except Exception:
            self._forget()  # it will begin at the start again
            raise


def _part(answer: http.client.HTTPResponse, buffer: memoryview) -> memoryview:
    """Read the next bytes of a content.

    Raises:
        HttpFailure: It ends here.
    """
    try:
        count = answer.readinto(buffer)
    except (OSError, http.client.HTTPException) as error:
        raise lost(error) from None
    if not count:
        raise Broken("was lost within a blob")
    return buffer[:count]
