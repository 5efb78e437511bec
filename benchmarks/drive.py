"""Runs the chosen workloads on one system and prints a JSON line per result: the whole of a driver."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from benchmarks.results import FAILED, Result
from benchmarks.settings import Settings
from benchmarks.systems import System
from benchmarks.workloads import (
    w1_bulk,
    w2_round_trips,
    w3_first_result,
    w4_map_reduce,
    w6_data,
    w8_graph,
)

R = TypeVar("R")
Workload = Callable[[System, Settings], Iterator[Result]]

ON_RUNNING_SYSTEM: dict[str, Workload] = {
    "W1": w1_bulk.run,
    "W2": w2_round_trips.run,
    "W4": w4_map_reduce.run,
    "W6": w6_data.run,
    "W8": w8_graph.run,
    # Last, because its programs leave the client's own connection cold.
    "W3": w3_first_result.run_up,
}


def drive(system: System) -> None:
    """Measure what every system is measured by, and print the results as they come."""
    settings = Settings.from_environment()
    leave_cleanly_when_terminated()
    if "W3" in settings.workloads:
        # First, while this process has not connected to anything that would notice the system's end.
        emit(system, "W3", w3_first_result.run_down(system, settings))
    for name in sorted(set(settings.workloads) & {"W6", "W8"} - set(system.workloads)):
        why = f"{system.name} has no futures that can be arguments of tasks, as {name} wants them"
        print(Result(name, system.name, "skipped", 0, system.database, skipped=why).to_json(), flush=True)
    chosen = [name for name in ON_RUNNING_SYSTEM if name in settings.workloads and name in system.workloads]
    if not chosen:
        return
    try:
        system.start()
        for name in chosen:
            emit(system, name, ON_RUNNING_SYSTEM[name](system, settings))
    finally:
        system.stop()


def alone(system: System, body: Callable[[], R]) -> R:
    """Start a system for one measurement, do that inside it, and end it."""
    leave_cleanly_when_terminated()
    try:
        system.start()
        return system.inside(body)
    finally:
        system.stop()


def leave_cleanly_when_terminated() -> None:
    """A terminated driver must still end what it started: make it leave through its `finally` blocks."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: driver terminated"))


def emit(system: System, workload: str, results: Iterator[Result]) -> None:
    """Print each result with settings and versions; a workload that fails does not take the others along."""
    try:
        for result in results:
            complete = replace(result, settings=system.settings(), versions=system.versions())
            print(complete.to_json(), flush=True)
    except Exception as error:
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}"
        print(Result(workload, system.name, FAILED, 0, system.database, skipped=why).to_json(), flush=True)
