"""Processes for acceptance tests: started as people start them, known only by what they print and answer.

Invariant: nothing outlives its `Stage`, whatever the test did.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(sys.executable).parent
"""Where the commands of the environment are that the tests run in."""
READY_SECONDS = 30.0
END_SECONDS = 30.0


class Program:
    """A process that runs in the background and says when it is ready."""

    def __init__(
        self, command: list[str], environment: dict[str, str], log: Path, directory: Path | None = None
    ) -> None:
        self.command = command
        self._log = log
        with open(log, "ab") as stream:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,
                cwd=directory,
            )

    def line(self, seconds: float = READY_SECONDS) -> str:
        """Return the next line of its standard output."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise AssertionError(f"{self.command} printed nothing in {seconds} s\n{self.log}")
        return self.process.stdout.readline().rstrip("\n")

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = END_SECONDS) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not end in {seconds} s\n{self.log}") from None

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Stage:
    """A home directory, an environment, and the processes in it, all of one installation."""

    def __init__(self, home: Path, commands: Path = HERE) -> None:
        self.home = home
        self._taskyard, self._python = str(commands / "taskyard"), str(commands / "python")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TASKYARD_")},
            "TASKYARD_HOME": str(home),
            "PYTHONWARNINGS": "default",
            "COLUMNS": "200",
        }
        self._programs: list[Program] = []

    def start(self, *arguments: str) -> Program:
        """Start ``taskyard ...`` in the background."""
        return self._start([self._taskyard, *arguments])

    def start_script(self, source: str) -> Program:
        """Start a Python program in the background."""
        return self._start([self._python, str(self._script(source))])

    def _start(self, command: list[str]) -> Program:
        program = Program(command, self.environment, self.home / f"{len(self._programs)}.log")
        self._programs.append(program)
        return program

    def serve(self, *arguments: str, listen: str = "127.0.0.1:0") -> Program:
        """Start a server and make it the one that everything else on this stage talks to."""
        return self._served(self.start("server", "start", "--listen", listen, *arguments))

    def serve_script(self, source: str) -> Program:
        """Start a server that is a Python program, and make it the one that everything else talks to."""
        return self._served(self.start_script(source))

    def _served(self, server: Program) -> Program:
        line = server.line()
        assert line.startswith("taskyard server ready on "), f"{line}\n{server.log}"
        self.environment["TASKYARD_SERVER"] = line.split()[4]
        return server

    def work(self, *arguments: str) -> Program:
        """Start an agent."""
        agent = self.start("agent", "start", *arguments)
        line = agent.line()
        assert line.startswith("taskyard agent ready: "), f"{line}\n{agent.log}"
        return agent

    def work_elsewhere(self, home: Path, *arguments: str, python: Sequence[str] = ()) -> Program:
        """Start an agent that shares nothing with this stage but the address of the server.

        Args:
            home: Its home, and its directory.
            *arguments: Its options.
            python: The command of an interpreter that starts it; finds modules where this process does.
        """
        environment = {**self.environment, "TASKYARD_HOME": str(home), "HOME": str(home)}
        command = [self._taskyard, "agent", "start", *arguments]
        if python:
            server = self.environment["TASKYARD_SERVER"]
            command = [*python, "-m", "taskyard_agent", "--server", server, *arguments]
            environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        agent = Program(command, environment, self.home / f"{len(self._programs)}.log", home)
        self._programs.append(agent)
        line = agent.line()
        assert line.startswith("taskyard agent ready: "), f"{line}\n{agent.log}"
        return agent

    def call(self, *arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run ``taskyard ...`` to its end."""
        return self._run([self._taskyard, *arguments], seconds)

    def document(self, *arguments: str) -> Any:
        """Run ``taskyard ... --json`` and return the document."""
        done = self.call(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run_script(self, source: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a Python program to its end."""
        return self._run([self._python, str(self._script(source))], seconds)

    def run_file(
        self, path: Path, *arguments: str, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a file to its end."""
        return self._run([self._python, str(path), *arguments], seconds)

    def run_python(
        self, directory: Path, *arguments: str, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in a directory to its end."""
        return self._run([self._python, *arguments], seconds, directory)

    def start_file(self, path: Path, *arguments: str) -> Program:
        """Start a file in the background."""
        return self._start([self._python, str(path), *arguments])

    def _script(self, source: str) -> Path:
        script = self.home / f"program-{len(self._programs)}.py"
        script.write_text(source)
        return script

    def _run(
        self, command: list[str], seconds: float, directory: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def close(self) -> None:
        """End everything, the yard included that a program may have started in the background."""
        for program in reversed(self._programs):
            program.close()
        pid_file = self.home / "yard.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
            eventually(lambda: not pid_file.exists(), "the yard ends")


def eventually(condition: Any, what: str, seconds: float = 30.0) -> Any:
    """Return what `condition` returns, as soon as it is true.

    Raises:
        AssertionError: It is not true in time.
    """
    deadline = time.monotonic() + seconds
    asked = time.monotonic()
    while not (value := condition()):
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        # Many ask by starting a program: that must not take what is waited for its processor.
        time.sleep(max(0.05, min(now - asked, 0.5)))
        asked = time.monotonic()
    return value


@contextmanager
def stage(commands: Path = HERE) -> Iterator[Stage]:
    """Yield a stage in a directory whose name is short enough for a Unix socket."""
    home = Path(tempfile.mkdtemp(prefix="yard-"))
    opened = Stage(home, commands)
    try:
        yield opened
    finally:
        opened.close()
        shutil.rmtree(home, ignore_errors=True)
