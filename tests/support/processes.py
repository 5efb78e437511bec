"""Real processes of Taskyard for tests of faults: started, killed, stopped and started again.

Invariant: nothing that was started outlives its installation, every wait has a deadline, and a wait that
fails shows what all processes wrote.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil

TESTS = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "programs"
READY_SECONDS = 30.0
_SHOWN_CHARACTERS = 4000


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Child:
    """One started process; its output goes to files, so that a full pipe never holds it up."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.stdout, self.stderr = folder / f"{name}.out", folder / f"{name}.err"
        self.started = time.monotonic()
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment
            )
        self.pid = self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code; negative for the signal that killed it, None while it runs."""
        return self.process.poll()

    def output(self) -> str:
        return self.stdout.read_text(errors="replace")

    def errors(self) -> str:
        return self.stderr.read_text(errors="replace")

    def records(self) -> list[dict[str, Any]]:
        """Return the lines it printed as JSON; one that is half written is left for later."""
        return [json.loads(line) for line in self.output().splitlines(keepends=True) if line.endswith("}\n")]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """``kill -9``, and wait until the process is gone."""
        self.process.kill()
        self.process.wait(10)

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def end(self) -> None:
        """Kill it with everything it started."""
        below = self.descendants()
        if self.running:
            self.kill()
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def describe(self) -> str:
        state = "running" if self.running else f"ended with {self.code}"
        lines = f"{self.output()[-_SHOWN_CHARACTERS:]}\n-- stderr\n{self.errors()[-_SHOWN_CHARACTERS:]}"
        return f"===== {self.name} ({self.pid}, {state})\n{lines}"


def zygotes_of(agent: Child) -> list[psutil.Process]:
    """Return what forks the workers of an agent: its child."""
    return _children_of({agent.pid}, agent.descendants())


def workers_of(agent: Child) -> list[psutil.Process]:
    """Return what executes the tasks of an agent: the children of its child."""
    below = agent.descendants()
    forking = {each.pid for each in below if _parent(each) == agent.pid}
    return _children_of(forking, below)


def _children_of(parents: set[int], processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if _parent(each) in parents and is_alive(each.pid)]


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return 0


class Installation:
    """A control plane on one address and one database, with its agents and clients."""

    def __init__(
        self, folder: Path, database: str, *, agent_lease: float = 3.0, session_lease: float = 4.0
    ) -> None:
        self.folder = folder
        self.database = database
        self.history = folder / "history"
        self.address = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self._leases = ["--agent-lease", str(agent_lease), "--session-lease", str(session_lease)]
        self._children: list[Child] = []
        self.server: Child | None = None
        self.wrapper: dict[str, list[str]] = {}
        """What to put before the command of a process of this name."""
        self.server_options: tuple[str, ...] = ()
        """Of each control plane that is started here."""
        self.variables: dict[str, dict[str, str]] = {}
        """What to add to the environment of a process of this name."""

    def start(self, name: str, *command: object, **environment: str) -> Child:
        """Start Python without waiting for anything."""
        return self.start_program(name, sys.executable, *command, **environment)

    def start_program(self, name: str, *command: object, **environment: str) -> Child:
        """Start a program, in whatever language, without waiting for anything."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TASKYARD_")}
        own = {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(TESTS),
            "TASKYARD_HOME": str(self.folder / "home"),
            "TASKYARD_SERVER": self.address,
            "TASKYARD_LOG_LEVEL": "INFO",
            "HISTORY": str(self.history),
        }
        arguments = [*self.wrapper.get(name, ()), *map(str, command)]
        serial = f"{len(self._children):02d}-{name}"
        added = self.variables.get(name, {}) | environment
        child = Child(serial, arguments, self.folder, {**inherited, **own, **added})
        self._children.append(child)
        return child

    def spawn_server(self, *options: str) -> Child:
        """Start a control plane on this installation's address and database, and do not wait."""
        command = ["-m", "taskyard_controlplane", "serve", "--listen", self.address]
        return self.start(
            "server", *command, "--database", self.database, *self._leases, *self.server_options, *options
        )

    def start_server(self, *options: str) -> Child:
        """Start the control plane, also after it was killed."""
        self.server = self.spawn_server("--http", self.http, *options)
        self._wait_ready(self.server, "taskyard server ready")
        return self.server

    def start_agent(self, name: str = "first", slots: int = 2, **environment: str) -> Child:
        command = ["-m", "taskyard_agent", "--server", self.address, "--name", name, "--slots", slots]
        agent = self.start(f"agent-{name}", *command, **environment)
        self._wait_ready(agent, "taskyard agent ready")
        return agent

    def start_client(self, program: str, *arguments: object, **environment: str) -> Child:
        """Start one of the programs beside this module, as a user would."""
        return self.start(program, PROGRAMS / f"{program}.py", *arguments, **environment)

    def metric(self, name: str) -> float:
        """Return what the control plane says of itself; it counts from its last start."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()

    def stop_server(self) -> None:
        """End the control plane cleanly, so that its database can be looked at."""
        assert self.server is not None
        self.server.send(signal.SIGTERM)
        code = self.exit_code(self.server, 20)
        if code != 0:
            self.fail(f"the control plane ended with {code} when it was asked to stop")

    def _wait_ready(self, child: Child, line: str) -> None:
        self.wait_for(lambda: line in child.output() or not child.running, READY_SECONDS, line)
        if line not in child.output():
            self.fail(f"{child.name} ended before it was ready")

    def wait_for(self, condition: Callable[[], object], timeout: float, what: str) -> float:
        """Wait until something is so, and return how long that took; fail with all logs when it is not."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > timeout:
                self.fail(f"not within {timeout:g} s: {what}")
            time.sleep(0.01)  # nothing tells what goes on in other processes
        return time.monotonic() - started

    def exit_code(self, child: Child, timeout: float) -> int:
        """Wait until a process has ended and return its exit code."""
        self.wait_for(lambda: not child.running, timeout, f"the end of {child.name}")
        assert child.code is not None
        return child.code

    def succeeded(self, client: Child, timeout: float) -> list[dict[str, Any]]:
        """Wait until a client has ended well, and return what it recorded."""
        code = self.exit_code(client, timeout)
        if code != 0:
            self.fail(f"{client.name} ended with {code}")
        return client.records()

    def fail(self, why: str) -> NoReturn:
        raise AssertionError("\n".join([why, *(child.describe() for child in self._children)]))

    def end(self) -> None:
        for child in reversed(self._children):
            child.end()


@contextmanager
def installation(folder: Path, database: str, **leases: float) -> Iterator[Installation]:
    """An installation whose processes are killed at the end, whatever happened."""
    installed = Installation(folder, database, **leases)
    try:
        yield installed
    finally:
        installed.end()
