"""Keeps one process running beside this one.

Invariant: the process is restarted whenever it ends by itself, never while this one ends, and the kernel ends
it when this one is killed.
"""

import logging
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

FIRST_DELAY_SECONDS: Final = 0.2
"""A process that died of an accident is missed at once."""
LONGEST_DELAY_SECONDS: Final = 10.0
"""One that cannot start, for want of memory say, must not keep a processor busy with trying."""
STABLE_SECONDS: Final = 30.0
"""One that lasted so long had started well: its end is a new accident."""
END_SECONDS: Final = 10.0
"""What it gets to end; somewhat more than it gives what it does itself."""

_log = logging.getLogger(__name__)


class Backoff:
    """How long to wait before the next start. Pure: time is an argument."""

    def __init__(self) -> None:
        """Begin with the shortest delay."""
        self._next = FIRST_DELAY_SECONDS

    def after_run(self, lasted: float) -> float:
        """Return the delay after a process that lasted so many seconds."""
        if lasted >= STABLE_SECONDS:
            self._next = FIRST_DELAY_SECONDS
        delay = self._next
        self._next = min(self._next * 2, LONGEST_DELAY_SECONDS)
        return delay


class ChildKeeper(ABC):
    """Keeps a process from `start` on until it is told to end it. Whoever inherits says which."""

    def __init__(self, what: str) -> None:
        """Keep `what`, for people."""
        self._what = what
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        # One thread starts every process: the kernel takes the end of the starting thread for the parent's.
        self._thread = threading.Thread(target=self._keep, name=f"{what} keeper", daemon=True)

    @abstractmethod
    def begin(self) -> "subprocess.Popen[bytes]":
        """Start the process.

        Raises:
            OSError: It could not be started now.
        """

    def attend(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the end of a process that has begun."""
        process.wait()

    def start(self) -> None:
        """Start the process, and do not wait for it."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, and make sure of it."""
        self.end()
        self._thread.join(END_SECONDS)
        process = self._process
        if process is not None and process.poll() is None:
            _log.warning("%s did not end within %g s and is killed", self._what, END_SECONDS)
            process.kill()
        self._thread.join()

    @property
    def pid(self) -> int | None:
        """The process that runs, if one does."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def end(self) -> None:
        """Ask the process to end, once, and start no other. Does not wait."""
        with self._lock:
            asked = self._ending.is_set()
            self._ending.set()
        if not asked:
            self.hurry()

    def hurry(self) -> None:
        """Send the process the signal to end."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def join(self, seconds: float) -> None:
        """Wait until a process that was asked to end has done so, at most so long."""
        self._thread.join(seconds)

    def _keep(self) -> None:
        backoff = Backoff()
        while True:
            started = time.monotonic()
            try:
                process = self._begin()
                if process is None:
                    return
                self.attend(process)
                how = f"ended with code {process.wait()}"
            except OSError as error:  # no memory, or too many processes
                how = f"could not be started ({error.strerror})"
            if self._ending.is_set():
                return
            delay = backoff.after_run(time.monotonic() - started)
            _log.warning("%s %s and is started again in %.1f s", self._what, how, delay)
            if self._ending.wait(delay):
                return

    def _begin(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._ending.is_set():
                return None
            self._process = self.begin()
            return self._process
