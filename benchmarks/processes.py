"""Starts the processes of a system, waits until they say they are ready, and ends all of them again.

Every process leads a group of its own, so that stopping one ends whatever it started, however it died.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.settings import CHECKOUT


class StartFailed(RuntimeError):
    """A process ended, or stayed silent, before it was ready."""


@dataclass
class Child:
    """One started process and the files its output goes to."""

    name: str
    process: "subprocess.Popen[bytes]"
    stdout: Path
    stderr: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """Return everything it wrote so far."""
        return self.stdout.read_text(errors="replace") + self.stderr.read_text(errors="replace")

    def wait_ready(self, pattern: str, *, on_stdout: bool = False, timeout: float = 60.0) -> None:
        """Wait until its output matches, or fail with the end of that output."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.stdout.read_text(errors="replace") if on_stdout else self.output()
            if re.search(pattern, text):
                return
            if self.process.poll() is not None:
                raise StartFailed(
                    f"{self.name} ended with {self.process.returncode}:\n{self.output()[-2000:]}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready in {timeout:.0f} s:\n{self.output()[-2000:]}")
            time.sleep(0.005)

    def lives(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End its whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, *, grace: float = 10.0) -> None:
        """Ask it to end, then end its whole group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(grace)


class Processes:
    """The processes of one system and their folder; leaving the context stops them, last started first."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._folder = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a process in the checkout, with `env` added to this process's environment."""
        serial = len(self._children)
        stdout, stderr = self.folder / f"{serial}-{name}.out", self.folder / f"{serial}-{name}.err"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                [*_ending_with_the_driver(), *argv],
                cwd=CHECKOUT,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        child = Child(name, process, stdout, stderr)
        self._children.append(child)
        return child

    def stop(self, child: Child) -> None:
        """Stop one of them before the others."""
        self._children.remove(child)
        child.stop()

    def kill(self, child: Child) -> None:
        """Kill one of them."""
        self._children.remove(child)
        child.kill()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._children:
            self._children.pop().stop()
        self._folder.cleanup()


def _ending_with_the_driver() -> list[str]:
    """Let the kernel terminate a child whose driver was killed: what is left over spoils the next run.

    A program in front and not a function between fork and exec, because the driver has gRPC's threads.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with the checkout importable and `extra` on top."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", **(extra or {})}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, *, timeout: float = 30.0) -> None:
    """Wait until something listens on this port of 127.0.0.1."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.01)
    raise StartFailed(f"nothing listens on 127.0.0.1:{port} after {timeout:.0f} s")
