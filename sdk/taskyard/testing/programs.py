"""The programs of a yard that belongs to one test process.

Invariant: they end with this process, however it ends: the kernel sees to it, and for that each is started
and awaited by a thread of its own, because the kernel takes the end of the starting thread for the parent's.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from taskyard._network.server.local_yard import AS_IT_IS
from taskyard.exceptions import ConnectionFailed
from taskyard_contract.programs import beside_parent

END_SECONDS: Final = 10.0
"""For a program that was asked to end; then it is killed."""
_TAIL_LINES: Final = 15
"""Of a log, for whoever asks why there is no yard."""


class Program:
    """One program: its process, and the thread that has started it and waits for its end."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Start it, and do not wait until it serves.

        Args:
            module: What to run.
            arguments: Its command line.
            environment: Its variables.
            log: The file that what it says goes to.
        """
        self._command = [*AS_IT_IS, *beside_parent.command(os.getpid(), module, arguments)]
        self._module, self._environment, self._log = module, environment, log
        self._process: subprocess.Popen[bytes] | None = None
        self._said = ""
        self._failure = ""
        self._has_begun, self._is_settled = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"{module} of tests", daemon=True)
        self._thread.start()

    def wait_ready(self, deadline: float) -> None:
        """Wait until it serves.

        Args:
            deadline: When to give up, by the monotonic clock.

        Raises:
            ConnectionFailed: It ended, or did not answer in time; the end of its log is in the message.
        """
        if not self._is_settled.wait(max(0.0, deadline - time.monotonic())):
            raise self._not_started("it did not answer in time (see 'server_startup_timeout')")
        if not self._said:
            raise self._not_started(self._failure)

    def kill(self) -> None:
        """End it like a power cut."""
        self._signal(signal.SIGKILL)
        self._thread.join(END_SECONDS)

    def end(self) -> None:
        """Ask it to end, and make sure of it."""
        self._signal(signal.SIGTERM)
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            self.kill()

    def _signal(self, number: int) -> None:
        self._has_begun.wait(END_SECONDS)  # or there is no process to signal yet
        process = self._process
        if process is not None:
            process.send_signal(number)  # does nothing to one that has ended

    def _keep(self) -> None:
        try:
            process = self._begin()
        except OSError as error:
            self._failure = f"it could not be started ({error.strerror})"
            self._has_begun.set()
            self._is_settled.set()
            return
        assert process.stdout is not None
        with process:  # until its end
            self._process = process
            self._has_begun.set()
            self._said = process.stdout.readline().decode("utf-8", "replace")
            if not self._said:
                self._failure = f"it ended with exit code {process.wait()}"
            self._is_settled.set()
            process.stdout.close()
        self._process = None

    def _begin(self) -> "subprocess.Popen[bytes]":
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # one line, when it is ready
                stderr=log,
                cwd=self._log.parent,
                start_new_session=True,  # Ctrl-C is for the tests, which end it in order
            )

    def _not_started(self, why: str) -> ConnectionFailed:
        lines = (
            self._log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:] if self._log.exists() else []
        )
        text = "\n  ".join(lines) or "(it wrote nothing)"
        return ConnectionFailed(
            f"the yard of the tests could not be started: {self._module}: {why}. Do what the end of its log"
            f" asks for:\n  {text}"
        )
