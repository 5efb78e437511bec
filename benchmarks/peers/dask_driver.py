"""Drives Dask distributed: a scheduler and two single-threaded workers as processes, nothing durable."""

# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
import sys
from typing import Any

from distributed import Client

from benchmarks import arrays
from benchmarks.drive import drive
from benchmarks.processes import free_port
from benchmarks.systems import Program, System, client_program, roles_of_descendants
from benchmarks.workloads.w8_graph import add

WORKERS = 2


def noop(value: int) -> None:
    """Do nothing."""


def identity(value: int) -> int:
    return value


def _role(command: str) -> str:
    return "workers" if "dask_worker" in command else "control_plane"


class DaskSystem(System):
    """`pure=False` throughout: otherwise equal calls would be computed once and shared."""

    name = "dask"
    down_variants = ("down",)
    packages = ("dask", "distributed", "numpy")
    workloads = ("W1", "W2", "W3", "W4", "W6", "W8")
    most_graph = 20_000

    def __init__(self) -> None:
        super().__init__()
        self._client: Any = None
        self._address = ""

    def start(self) -> None:
        self._address = f"tcp://127.0.0.1:{free_port()}"
        python = [sys.executable, "-m"]
        port = self._address.rpartition(":")[2]
        here = ["--host", "127.0.0.1"]
        options = [*here, "--port", port, "--no-dashboard", "--no-show"]
        scheduler = self.processes.start("scheduler", [*python, "distributed.cli.dask_scheduler", *options])
        scheduler.wait_ready("Scheduler at")
        for serial in range(WORKERS):
            options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", *here, "--name", str(serial)]
            command = [*python, "distributed.cli.dask_worker", self._address, *options]
            self.processes.start(f"worker{serial}", command)
        self._client = Client(self._address)
        self._client.wait_for_workers(WORKERS, timeout=60)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        super().stop()

    def bulk(self, variant: str, n: int) -> None:
        if variant == "map":
            futures = self._client.map(noop, range(n), pure=False)
        else:
            futures = [self._client.submit(noop, value, pure=False) for value in range(n)]
        self._client.gather(futures)

    def round_trip(self, value: int) -> int:
        answer: int = self._client.submit(identity, value, pure=False).result()
        return answer

    def map_reduce(self, width: int) -> int:
        futures = self._client.map(identity, range(width), pure=False)
        answer: int = self._client.submit(sum, futures, pure=False).result()
        return answer

    def move(self, count: int, size: int) -> list[float]:
        submit = self._client.submit
        futures = [
            submit(arrays.read, submit(arrays.make, number, size, pure=False), pure=False)
            for number in range(count)
        ]
        values: list[float] = self._client.gather(futures)
        return values

    def share(self, count: int, size: int) -> list[float]:
        array = self._client.scatter(arrays.make(1, size))
        futures = [self._client.submit(arrays.read, array, number, pure=False) for number in range(count)]
        values: list[float] = self._client.gather(futures)
        return values

    def graph(self, layers: int, width: int) -> list[int]:
        submit = self._client.submit
        kept = [[submit(add, 0, position, pure=False) for position in range(width)]]
        for _ in range(layers - 1):
            above = kept[-1]
            kept.append(
                [submit(add, above[position - 1], above[position], pure=False) for position in range(width)]
            )
        values: list[int] = self._client.gather(kept[-1])
        return values

    def roles(self) -> dict[str, list[int]]:
        return roles_of_descendants(_role)

    def settings(self) -> dict[str, str]:
        workers = f"{WORKERS} processes of 1 thread, no nanny"
        return {"durability": "none: tasks and results live in memory", "workers": workers}

    def first_result_up(self) -> Program:
        return Program(client_program("dask_client"), {"BENCH_ADDRESS": self._address})

    def first_result_down(self, variant: str) -> Program:
        return Program(client_program("dask_client"), {"BENCH_ADDRESS": ""})


if __name__ == "__main__":
    drive(DaskSystem())
