"""A real control plane and a real agent, as programs, for tests of the SDK."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from taskyard._network.session.sessions import close_sessions

TESTS: Final = Path(__file__).parent.parent


class Program:
    """A long-running program of Taskyard's."""

    def __init__(self, *arguments: str, log: Path) -> None:
        with open(log, "ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": str(TESTS)},  # what tests submit is in modules there
            )

    def ready(self) -> "Program":
        """Wait for the line that says so."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "ready" in line, f"the program ended: {line!r}"
        return self

    def kill(self) -> None:
        """End it like a power cut."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """End it in good order."""
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


class Plane:
    """A control plane and an agent beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.address = f"unix:{home}/cp.sock"
        self.server = self.start_server()
        agent = ["taskyard_agent", "--server", self.address, "--slots", "2"]
        agent += ["--queue", "default", "--name", "tester"]
        self.agent = Program(*agent, log=home / "agent.log").ready()

    def start_server(self) -> Program:
        """Start the control plane, which must not be running."""
        database = f"sqlite:///{self.home}/taskyard.db"
        return Program(
            *("taskyard_controlplane", "serve", "--listen", self.address, "--database", database),
            log=self.home / "server.log",
        ).ready()

    def restart(self) -> None:
        """Kill the control plane and start it again."""
        self.server.kill()
        self.server = self.start_server()

    def stop(self) -> None:
        """End both."""
        self.agent.stop()
        self.server.stop()


@contextmanager
def plane_and_agent(home: Path) -> Iterator[Plane]:
    """Both, ready."""
    plane = Plane(home)
    try:
        yield plane
    finally:
        plane.stop()


def end_sessions() -> None:
    """Say goodbye, as at the end of a program."""
    close_sessions()
