"""Drives Ray: tasks in memory of one head node, nothing durable."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
import os
from typing import Any

import ray

from benchmarks import arrays
from benchmarks.drive import drive
from benchmarks.systems import Program, System, client_program, roles_of_descendants
from benchmarks.workloads import w8_graph

WORKERS = 2


@ray.remote
def noop(value: int) -> None:
    """Do nothing."""


@ray.remote
def identity(value: int) -> int:
    return value


@ray.remote
def total(*values: int) -> int:
    """Ray resolves references among the arguments, not inside lists: hence the star."""
    return sum(values)


make, read, add = ray.remote(arrays.make), ray.remote(arrays.read), ray.remote(w8_graph.add)


def _role(command: str) -> str:
    if "ray::" in command:
        return "workers"
    return "control_plane" if "gcs_server" in command or "raylet" in command else "agent"


class RaySystem(System):
    """A local cluster of two CPUs whose driver is this process."""

    name = "ray"
    down_variants = ("down",)
    packages = ("ray", "numpy")
    workloads = ("W1", "W2", "W3", "W4", "W6", "W8")
    most_graph = 20_000
    bulk_variants = ("submit",)  # Ray has no map for tasks: a comprehension is how its users write one.

    def start(self) -> None:
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    def stop(self) -> None:
        ray.shutdown()
        super().stop()

    def bulk(self, variant: str, n: int) -> None:
        ray.get([noop.remote(value) for value in range(n)])

    def round_trip(self, value: int) -> int:
        answer: int = ray.get(identity.remote(value))
        return answer

    def map_reduce(self, width: int) -> int:
        answer: int = ray.get(total.remote(*[identity.remote(value) for value in range(width)]))
        return answer

    def move(self, count: int, size: int) -> list[float]:
        values: list[float] = ray.get([read.remote(make.remote(number, size)) for number in range(count)])
        return values

    def share(self, count: int, size: int) -> list[float]:
        array = ray.put(arrays.make(1, size))
        values: list[float] = ray.get([read.remote(array, number) for number in range(count)])
        return values

    def graph(self, layers: int, width: int) -> list[int]:
        kept = [[add.remote(0, position) for position in range(width)]]
        for _ in range(layers - 1):
            above = kept[-1]
            kept.append([add.remote(above[position - 1], above[position]) for position in range(width)])
        values: list[int] = ray.get(kept[-1])
        return values

    def roles(self) -> dict[str, list[int]]:
        return roles_of_descendants(_role)

    def settings(self) -> dict[str, str]:
        return {"durability": "none: tasks and results live in memory", "workers": f"{WORKERS} CPUs"}

    def first_result_up(self) -> Program:
        context: Any = ray.get_runtime_context()
        return Program(client_program("ray_client"), {"BENCH_ADDRESS": context.gcs_address})

    def first_result_down(self, variant: str) -> Program:
        return Program(client_program("ray_client"), {"BENCH_ADDRESS": ""})


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    drive(RaySystem())
