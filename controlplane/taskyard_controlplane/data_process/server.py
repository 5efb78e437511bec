"""Takes connections, and gives each a thread, of which there are only so many.

Anybody may connect who reaches the port, and only then shows that he was let in. So beyond `MOST` the one
that has waited longest without a request makes room; where all of them are at work the newest is sent away.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

from taskyard_controlplane.data_process.callers import Caller
from taskyard_controlplane.data_process.requests import Desk, Requests

MOST: Final = 256
"""Connections at a time, each with a thread: an agent that fetches four values has 16. Only uploads have
buffers."""
LEAST_SECONDS: Final = 0.05
"""So long nobody makes room for others: what it takes to hear a caller who speaks at once."""
RETRY_SECONDS: Final = 0.5
"""After a connection could not be taken, for want of descriptors for example."""
STOP_SECONDS: Final = 5.0
BUSY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nServer: taskyard\r\nTaskyard-Error: OVERLOADED\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)

_log = logging.getLogger(__name__)


class DataServer:
    """Serves blobs on a socket that listens."""

    def __init__(
        self,
        listener: socket.socket,
        desk: Desk,
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve what a desk has; at most so many connections."""
        self._listener = listener
        self._desk = desk
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._callers: dict[Caller, threading.Thread] = {}
        self._stopping = False

    def start(self) -> None:
        """Begin to take connections."""
        threading.Thread(target=self._take_all, name="data connections", daemon=True).start()

    def cut_late(self) -> None:
        """Cut off those whose time is over; to be called every second or so."""
        for caller in self._open():
            caller.cut_if_late()

    def stop(self) -> None:
        """End all connections; nothing is left of an upload that was not finished."""
        self._stopping = True
        with self._lock:
            threads = list(self._callers.values())
        for caller in self._open():
            caller.cut()
        until = self._clock() + STOP_SECONDS
        for thread in threads:
            thread.join(max(until - self._clock(), 0))

    def _open(self) -> list[Caller]:
        with self._lock:
            return list(self._callers)

    def _take_all(self) -> None:
        while not self._stopping:
            try:
                accepted, _ = self._listener.accept()
                with ExitStack() as stack:
                    stack.callback(accepted.close)
                    self._take(accepted)
                    stack.pop_all()
            except (OSError, RuntimeError) as error:  # no descriptors, or no threads
                if not self._stopping:
                    _log.warning("the data process cannot take a connection: %s", error)
                    time.sleep(RETRY_SECONDS)

    def _take(self, accepted: socket.socket) -> None:
        caller = Caller(accepted, self._clock)
        thread = threading.Thread(target=self._serve, args=(caller,), name="data request", daemon=True)
        with self._lock:
            if not self._stopping and self._make_room():
                thread.start()
                self._callers[caller] = thread
                return
        _send_away(caller)

    def _make_room(self) -> bool:
        if len(self._callers) < self._most:
            return True
        since = self._clock() - LEAST_SECONDS
        waiting = [each for each in self._callers if each.is_waiting and each.waits_since <= since]
        if not waiting:
            return False
        longest = min(waiting, key=lambda each: each.waits_since)
        longest.cut()
        del self._callers[longest]
        return True

    def _serve(self, caller: Caller) -> None:
        try:
            Requests(caller, self._desk)
        except Exception:
            _log.exception("a connection to the data process failed")
        finally:
            self._forget(caller)

    def _forget(self, caller: Caller) -> None:
        with self._lock:
            self._callers.pop(caller, None)
        caller.close()


def _send_away(caller: Caller) -> None:
    with suppress(OSError):
        caller.socket.setblocking(False)
        caller.socket.send(BUSY)
    caller.close()
