"""Drives Prefect the way its own distributed mode works: a server on SQLite and two task workers."""

# mypy: disable-error-code="import-not-found,import-untyped"
import os
import sys
from typing import Any

from benchmarks.drive import drive
from benchmarks.processes import free_port, wait_for_port
from benchmarks.systems import Program, System, client_program, roles_of_descendants

WORKERS = 2


def _role(command: str) -> str:
    return "workers" if "prefect_app" in command else "control_plane"


class PrefectSystem(System):
    """`delay` on the client, `serve` on the workers: the calls whose runs outlive the client."""

    name = "prefect"
    packages = ("prefect",)
    most_bulk = 50
    most_rounds = 3
    most_round_trips = 30
    most_width = 50

    def __init__(self) -> None:
        super().__init__()
        self.database = "sqlite"
        self._tasks: Any = None
        self._env: dict[str, str] = {}

    def start(self) -> None:
        port = free_port()
        self._env = {**self._home(), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        os.environ.update(self._env)
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        server = [sys.executable, "-m", "prefect", "server", "start", *options]
        self.processes.start("server", server)
        wait_for_port(port, timeout=90.0)
        for serial in range(WORKERS):
            command = [sys.executable, "-m", "benchmarks.peers.prefect_app"]
            self.processes.start(f"worker{serial}", command).wait_ready("serving")
        from benchmarks.peers import prefect_app  # reads the address when it is imported

        self._tasks = prefect_app
        self.round_trip(0)  # the workers subscribe after they said that they serve

    def _home(self) -> dict[str, str]:
        home = self.processes.folder
        return {
            "PREFECT_HOME": str(home / "home"),
            "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_LOGGING_LEVEL": "INFO",
        }

    def bulk(self, variant: str, n: int) -> None:
        if variant == "map":
            futures = self._tasks.noop.map(range(n), deferred=True)
        else:
            futures = [self._tasks.noop.delay(value) for value in range(n)]
        for future in futures:
            self._tasks.result_of(future)

    def round_trip(self, value: int) -> int:
        answer: int = self._tasks.result_of(self._tasks.identity.delay(value))
        return answer

    def map_reduce(self, width: int) -> int:
        futures = list(self._tasks.identity.map(range(width), deferred=True))
        for future in futures:
            self._tasks.result_of(future)
        answer: int = self._tasks.result_of(self._tasks.total.delay(futures))
        return answer

    def roles(self) -> dict[str, list[int]]:
        return roles_of_descendants(_role)

    def settings(self) -> dict[str, str]:
        return {
            "durability": "SQLite WAL, synchronous=NORMAL (set by Prefect); results as local files",
            "workers": f"{WORKERS} task workers, limit=1",
            "map_reduce": "reduce submitted when the map is done: a worker may meet a run with no state yet",
            "n": "small, because it is slow: compare the rates",
        }

    def first_result_up(self) -> Program:
        return Program(client_program("prefect_client"), self._env)


if __name__ == "__main__":
    drive(PrefectSystem())
