"""Taskyard as a system under measurement: control plane, agent and two workers as separate processes."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import arrays, cpu, disk
from benchmarks.database import Database, provide
from benchmarks.processes import Child, environment, free_port
from benchmarks.systems import Program, System, client_program
from taskyard._network.session.sessions import close_sessions

T = TypeVar("T")
SLOTS = 2
_HOME = "TASKYARD_HOME"


def command_line() -> list[str]:
    """Return the `taskyard` command of this interpreter's environment."""
    script = Path(sys.executable).with_name("taskyard")
    return [str(script)] if script.exists() else [sys.executable, "-m", "taskyard.cli"]


class TaskyardSystem(System):
    """Everything goes through the public command line and the SDK."""

    name = "taskyard"
    packages = ("taskyard", "grpcio", "protobuf")
    workloads = ("W1", "W2", "W3", "W4", "W5", "W6", "W6-uploads", "W7", "W8", "W9")
    down_variants = ("down", "down-new-home")
    down_database = "sqlite"

    def __init__(self, database: str) -> None:
        super().__init__()
        self.database = database
        self._provided: Database | None = None
        self._server: Child | None = None
        self._agent: Child | None = None
        self._tasks: Any = None
        # A yard of the user's own must not be measured by mistake.
        os.environ.pop("TASKYARD_SERVER", None)
        self._kept_home = tempfile.TemporaryDirectory(prefix="bh-", ignore_cleanup_errors=True)

    def start(self) -> None:
        self.start_server()
        self.start_agent()

    def start_server(self) -> None:
        """Start the control plane alone and point this process's SDK to it; the user's home is left alone."""
        os.environ[_HOME] = str(self.processes.folder / "home")
        provided = self.provide_database()
        address, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        options = ["--listen", address, "--http", http, "--database", provided.url]
        self._server = self.processes.start("server", self.server_command(options))
        self._server.wait_ready("taskyard server ready", on_stdout=True)
        os.environ["TASKYARD_SERVER"] = address
        from benchmarks import taskyard_tasks  # the SDK may read the address when it is imported

        self._tasks = taskyard_tasks

    def provide_database(self) -> Database:
        """Return the database, which stays when the server ends."""
        if self._provided is None:
            self._provided = provide(self.database, self.processes.folder)
        return self._provided

    def kill_server(self) -> None:
        """Kill the control plane and what it has started."""
        if self._server is not None:
            self.processes.kill(self._server)
            self._server = None

    def start_program(self, name: str, module: str, *arguments: str) -> Child:
        """Start a program of the benchmark beside the system."""
        return self.processes.start(name, [sys.executable, "-m", module, *arguments])

    def start_agent(self, *more: str) -> None:
        """Start the agent and its workers; they begin with what is queued."""
        options = ["--server", os.environ["TASKYARD_SERVER"], "--slots", str(SLOTS), *more]
        self._agent = self.processes.start("agent", self.agent_command(options))
        self._agent.wait_ready("taskyard agent ready", on_stdout=True)

    def server_command(self, options: list[str]) -> list[str]:
        """Return the command of the control plane."""
        return [*command_line(), "server", "start", *options]

    def agent_command(self, options: list[str]) -> list[str]:
        """Return the command of the agent."""
        return [*command_line(), "agent", "start", *options]

    def stop(self) -> None:
        super().stop()
        os.environ.pop(_HOME, None)
        self._server = self._agent = None
        if self._provided is not None:
            self._provided.close()
            self._provided = None

    def inside(self, body: Callable[[], T]) -> T:
        """Run it as the body of a flow, whose own run is started before the body measures anything."""
        answer: T = self._tasks.in_flow(body)
        return answer

    def bulk(self, variant: str, n: int) -> None:
        futures = self.submit_map(n) if variant == "map" else self._submit_each(n)
        for future in futures:
            future.result()

    def submit_map(self, n: int) -> list[Any]:
        """Submit n no-op tasks through `.map` and return their futures."""
        return list(self._tasks.noop.map(range(n)))

    def _submit_each(self, n: int) -> list[Any]:
        submit = self._tasks.noop.submit
        return [submit(value) for value in range(n)]

    def round_trip(self, value: int) -> int:
        answer: int = self._tasks.identity.submit(value).result()
        return answer

    def map_reduce(self, width: int) -> int:
        futures = list(self._tasks.identity.map(range(width)))
        answer: int = self._tasks.total.submit(futures).result()
        return answer

    def move(self, count: int, size: int) -> list[float]:
        make, read = self._tasks.make.submit, self._tasks.read.submit
        futures = [read(make(number, size)) for number in range(count)]
        return [future.result() for future in futures]

    def share(self, count: int, size: int) -> list[float]:
        futures = self._tasks.read_shared(arrays.make(1, size), count)
        return [future.result() for future in futures]

    def graph(self, layers: int, width: int) -> list[int]:
        add = self._tasks.add.submit
        kept = [[add(0, position) for position in range(width)]]
        for _ in range(layers - 1):
            above = kept[-1]
            kept.append([add(above[position - 1], above[position]) for position in range(width)])
        return [future.result() for future in kept[-1]]

    def stored_mb(self) -> float | None:
        """A database that is a file, the blobs, and the home; not what the processes have printed."""
        return disk.used_mb(self.processes.folder, but_for=(".out", ".err"))

    def prune(self) -> bool:
        """Remove all that is over, as if this program had ended, which could ask for its results otherwise.

        Other options in PRUNE say something else of what is old enough to go.
        """
        command = [*command_line(), "prune"]
        if subprocess.run([*command, "--help"], capture_output=True, env=environment()).returncode:
            return False  # a release that has no such command
        close_sessions()
        options = shlex.split(os.environ.get("PRUNE", "--older-than 0 --yes --wait"))
        subprocess.run([*command, *options], check=True, stdout=sys.stderr, env=environment())
        return True

    def roles(self) -> dict[str, list[int]]:
        roles = {"client": [os.getpid()]}
        if self._server is not None:
            roles |= {"control_plane": [self._server.pid], "web": cpu.descendants(self._server.pid)}
        if self._agent is not None:
            roles |= {"agent": [self._agent.pid], "workers": cpu.descendants(self._agent.pid)}
        if self._provided is not None and (pids := self._provided.pids()):
            roles["database"] = pids
        return roles

    def settings(self) -> dict[str, str]:
        workers = {"workers": f"1 agent, {SLOTS} slots"}
        if self._provided is None:
            return {"durability": "SQLite under TASKYARD_HOME, as the local yard sets it up"}
        return self._provided.settings() | workers

    def first_result_up(self) -> Program:
        return Program(client_program("taskyard_client"), {"TASKYARD_SERVER": os.environ["TASKYARD_SERVER"]})

    def first_result_down(self, variant: str) -> Program:
        """With `down` the home of an earlier yard is there; with `down-new-home` nothing is."""
        home = self._kept_home.name if variant == "down" else tempfile.mkdtemp(prefix="bh-")
        return Program(client_program("taskyard_client"), {_HOME: home})

    def clean_up_after(self, program: Program) -> None:
        """End the local yard that the program started, and forget its home unless it is kept."""
        home = program.env[_HOME]
        _end(lambda: _yard_processes(home))
        if home != self._kept_home.name:
            shutil.rmtree(home, ignore_errors=True)


def _yard_processes(home: str) -> list[int]:
    """A yard may have cleaned its environment; its command line names the home then."""
    by_command = [pid for pid in cpu.all_processes() if home in cpu.command_line(pid)]
    return sorted({*cpu.with_environment(_HOME, home), *by_command} - {os.getpid()})


def _end(living: Callable[[], list[int]], grace: float = 10.0) -> None:
    deadline = time.monotonic() + grace
    _signal(living(), signal.SIGTERM)
    while living() and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(living(), signal.SIGKILL)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
