"""Measures what it costs others that somebody watches: W1 by map, alone and beside watchers, in turns.

`python -m benchmarks.watches`; N (20000) runs in each of ROUNDS (5) rounds. A watcher is a process of its
own, which has been told of all that there is before its round begins.
"""

import os
import statistics
import sys
import time
from typing import Final

from benchmarks import cpu
from benchmarks.drive import alone
from benchmarks.taskyard_system import TaskyardSystem
from taskyard_contract.states import RunState

N: Final = int(os.environ.get("N") or 20_000)
ROUNDS: Final = int(os.environ.get("ROUNDS") or 5)
WATCHES: Final[dict[str, list[list[str]]]] = {
    "alone": [],
    "everything": [[]],
    "everything, four": [[]] * 4,
    "failed": [[str(int(RunState.FAILED))]],
}


def round_of(system: TaskyardSystem, watches: list[list[str]]) -> tuple[float, float]:
    """Return runs per second, and microseconds of the control plane's processor per run."""
    command = [sys.executable, "-m", "benchmarks.watcher", os.environ["TASKYARD_SERVER"]]
    watchers = [system.processes.start("watcher", [*command, *states]) for states in watches]
    for watcher in watchers:
        watcher.wait_ready("watching", on_stdout=True)
    system.bulk("map", N // 10)  # agents that had nothing to do for a while begin slowly
    server = system.roles()["control_plane"]
    before, begin = sum(map(cpu.cpu_seconds, server)), time.perf_counter()
    system.bulk("map", N)
    seconds, spent = time.perf_counter() - begin, sum(map(cpu.cpu_seconds, server)) - before
    for watcher in watchers:
        system.processes.stop(watcher)
    return N / seconds, spent / N * 1e6


def measure(system: TaskyardSystem) -> None:
    """Print a line for each number of watchers."""
    system.bulk("map", N)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WATCHES}
    for _ in range(ROUNDS):
        for name, watches in WATCHES.items():
            found[name].append(round_of(system, watches))
    alone = statistics.median(rate for rate, _ in found["alone"])
    print(f"{'watch of':20}{'runs/s':>10}{'ratio':>8}{'us of the control plane':>26}")
    for name, rounds in found.items():
        rate, spent = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:20}{rate:10.0f}{rate / alone:8.2f}{spent:26.1f}", flush=True)


def main() -> None:
    """Measure a server that is started for it."""
    system = TaskyardSystem("sqlite")
    alone(system, lambda: measure(system))


if __name__ == "__main__":
    main()
