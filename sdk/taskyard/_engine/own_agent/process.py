"""One agent for a single program: a process with workers below it, which serves a queue nobody else knows.

Invariant: it ends with the process that started it, however that ends. The agent asks the kernel to see to
that, which means the thread that started it: so that thread does nothing else, and waits for its end.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Final

from taskyard import settings
from taskyard._network.server.local_yard import AS_IT_IS
from taskyard_contract.programs import beside_parent

END_SECONDS: Final = 10.0
"""An agent without work ends in a fraction of a second; a busy machine may take this long."""
TAIL_LINES: Final = 15
"""Of its log, for whoever asks why it ended."""
TAIL_BYTES: Final = 16_384
"""At most so much of it."""


class OwnAgent:
    """An agent process, from its start to its end."""

    def __init__(
        self,
        server: str,
        queue: str,
        name: str,
        slots: int,
        coroutines: int | None,
        failed: Callable[[str, str], object],
        before: Callable[[], object] | None = None,
    ) -> None:
        """Start it; runs wait in the queue until it is there.

        Args:
            server: The address of the control plane.
            queue: What it serves.
            name: Its name, which no other agent of this machine has or will have.
            slots: How many runs it executes at the same time.
            coroutines: How many async tasks it executes together beside these for each slot; None for the
                default.
            failed: Called with the reason, and the end of its log, when it could not be started or ends
                before `close`.
            before: Called in the thread that starts it; an `OSError` of its is a reason not to.
        """
        self._directory = settings.home() / "agents" / name
        self._failed, self._before = failed, before
        arguments = [
            *("--server", server, "--queue", queue, "--name", name, "--slots", str(slots)),
            *(() if coroutines is None else ("--coroutines", str(coroutines))),
        ]
        self._command = [
            *AS_IT_IS,
            *beside_parent.command(os.getpid(), "taskyard_agent", arguments),
        ]
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        self._watcher = threading.Thread(target=self._run, name=name, daemon=True)
        self._watcher.start()

    def _run(self) -> None:
        with TemporaryFile() as log:
            try:
                if self._before is not None:
                    self._before()
                self._process = self._start(log)
            except OSError as error:
                self._failed(f"could not be started ({error})", "")
                return
            finally:
                self._started.set()
            code = self._process.wait()
            if not self._closing:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
                self._failed(f"ended with exit code {code}", "\n  ".join(["", *lines]) if lines else "")
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
