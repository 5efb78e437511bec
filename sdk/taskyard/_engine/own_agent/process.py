"""One agent of this program's own: a process with workers below it, which serves a queue nobody else knows.

Invariant: it ends with this program, however that ends. The agent asks the kernel to see to that, which means
the thread that started the process: so that thread does nothing else, and waits for the end of the process.
"""

import os
import shutil
import subprocess
import threading
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Final

from taskyard import settings
from taskyard._network.server.local_yard import AS_IT_IS
from taskyard._network.session.session import Session
from taskyard.exceptions import TaskyardError
from taskyard_contract.programs import beside_parent

END_SECONDS: Final = 10.0
"""An agent without work ends in a fraction of a second; a busy machine may take this long."""
TAIL_LINES: Final = 15
"""Of its log, for whoever asks why it ended."""
TAIL_BYTES: Final = 16_384
"""At most so much of it."""


class OwnAgent:
    """An agent process, from its start to its end."""

    def __init__(self, session: Session, queue: str, slots: int, coroutines: int | None) -> None:
        """Start it; runs wait in the queue until it is there.

        Args:
            session: Whose runs; it fails when the process ends before `close`.
            queue: What it serves, and its name.
            slots: How many runs it executes at the same time.
            coroutines: How many async tasks it executes together beside these for each slot; None for the
                default.
        """
        self._session = session
        self._directory = settings.home() / "agents" / queue
        self._slots = slots
        arguments = [
            *("--server", session.locate(), "--queue", queue, "--name", queue, "--slots", str(slots)),
            *(() if coroutines is None else ("--coroutines", str(coroutines))),
        ]
        self._command = [
            *AS_IT_IS,
            *beside_parent.command(os.getpid(), "taskyard_agent", arguments),
        ]
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        self._watcher = threading.Thread(target=self._run, name=queue, daemon=True)
        self._watcher.start()

    def _run(self) -> None:
        with TemporaryFile() as log:
            try:
                self._process = self._start(log)
            except OSError as error:
                self._fail(f"could not be started ({error})", "")
                return
            finally:
                self._started.set()
            code = self._process.wait()
            if not self._closing:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
                self._fail(f"ended with exit code {code}", "\n  ".join(["", *lines]))
        # What it kept for later belongs to a name that no agent will ever have again.
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            # Ctrl-C is meant for the program, which then ends it in order.
            start_new_session=True,
        )

    def _fail(self, how: str, log: str) -> None:
        workers = "1 worker" if self._slots == 1 else f"{self._slots} workers"
        text = f"the process with the {workers} of ProcessPoolTaskRunner {how}; its runs cannot be executed"
        self._session.fail(TaskyardError(text + (f". The end of its log:{log}" if log else "")))

    @property
    def pid(self) -> int | None:
        """Its process id, once it has been started."""
        self._started.wait()
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End it in order, and wait for that."""
        self._closing = True
        self._started.wait()
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        self._watcher.join(END_SECONDS)
        if self._watcher.is_alive():
            with suppress(ProcessLookupError):
                self._process.kill()
            self._watcher.join()
