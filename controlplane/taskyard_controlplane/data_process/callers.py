"""One connection: what it may still send, and until when.

Whoever is slow, or silent, holds a thread and nothing else, and only for so long: each step has a deadline,
and somebody looks at these (`cut_if_late`). Sockets block; to shut one down wakes who waits for it.
"""

import io
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

HEAD_BYTES: Final = 16 * 1024
"""Most bytes of a request's line and headers; ours have less than 1,000."""
HEAD_SECONDS: Final = 10.0
"""For the head of a request, from the connection or the answer before on. On a network that works it is there
within milliseconds; who keeps a connection for another request has so long to make it."""
PIECE_BYTES: Final = 256 * 1024
"""What is received, and sent, at a time."""
PIECE_SECONDS: Final = 30.0
"""For a piece: as long as a lease, after which whoever sends it is given up as well. 8 KiB/s are enough."""


class HeadTooLarge(OSError):
    """The head of a request has no end."""


class Caller:
    """A connection. Of one thread, but for `cut` and what looks at its deadline."""

    def __init__(self, connection: socket.socket, clock: Callable[[], float]) -> None:
        """Begin to wait for a request; `clock` returns seconds that never jump."""
        self.socket = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self.expect_head()

    def expect_head(self) -> None:
        """Give it the time, and the bytes, that the head of a request takes."""
        self.waits_since = self._clock()
        self.is_waiting = True
        self.allowance: int | None = HEAD_BYTES
        self._deadline = self.waits_since + HEAD_SECONDS

    def expect_piece(self, seconds: float = PIECE_SECONDS) -> None:
        """Give it the time that a piece takes."""
        self.is_waiting = False
        self.allowance = None
        self._deadline = self._clock() + seconds

    def cut_if_late(self) -> None:
        """Cut it off, if its time is over."""
        if self._clock() > self._deadline:
            self.cut()

    def cut(self) -> None:
        """End it, whatever it waits for."""
        # Under a lock: the number of a descriptor that was closed may be another connection's by now.
        with self._lock, suppress(OSError):
            if not self._closed:
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Be done with it."""
        with self._lock:
            self._closed = True
            self.socket.close()


class Received(io.RawIOBase):
    """What a caller sends, as a file to read; of a head not more than there is room for."""

    def __init__(self, caller: Caller) -> None:
        """Read from a caller."""
        self._caller = caller

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for some bytes; none is the end.

        Raises:
            HeadTooLarge: There have been too many.
            OSError: The connection is broken.
        """
        allowance = self._caller.allowance
        if allowance is not None and allowance <= 0:
            raise HeadTooLarge("the head of the request is too large")
        received = self._caller.socket.recv_into(buffer)
        if allowance is not None:
            self._caller.allowance = allowance - received
        return received
