"""Measures what one peer that floods a server costs another client, and the server's memory.

`python -m benchmarks.floods [KIND ...]`; SECONDS (20) of each flood, AFTER (5) seconds until memory is read
once more. For every kind a new server and agent are started. The other client submits one run at a time and
waits for it: first while nothing else happens, and then during the flood.
"""

import os
import statistics
import subprocess
import sys
import threading
import time
from typing import Final

from benchmarks import cpu
from benchmarks.drive import alone
from benchmarks.flooder import DEAF, KINDS
from benchmarks.taskyard_system import TaskyardSystem

SECONDS: Final = float(os.environ.get("SECONDS") or 20)
AFTER: Final = float(os.environ.get("AFTER") or 5)
QUIET: Final = float(os.environ.get("QUIET") or 5)
LOOK: Final = 0.05
ONE: Final = "--one"


class Highest:
    """Watches how much memory a process has."""

    def __init__(self, pid: int) -> None:
        self.mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def _watch(self, pid: int) -> None:
        while not self._over.wait(LOOK):
            self.mb = max(self.mb, cpu.rss_mb(pid))

    def end(self) -> float:
        """Watch no more; returns the most there was."""
        self._over.set()
        self._thread.join()
        return self.mb


def round_trips(system: TaskyardSystem, seconds: float) -> list[float]:
    """Return how many milliseconds each of the runs took that fit into a time."""
    end, times = time.perf_counter() + seconds, list[float]()
    while (begin := time.perf_counter()) < end:
        system.round_trip(len(times))
        times.append((time.perf_counter() - begin) * 1_000)
    return times


def p99(times: list[float]) -> float:
    """Return the time that one in a hundred exceeds; the longest, where there are fewer."""
    return sorted(times)[int(len(times) * 0.99)]


def measure(system: TaskyardSystem, kind: str) -> str:
    """Flood a system that has just been started; returns a line of the table."""
    server = system.roles()["control_plane"][0]
    round_trips(system, 2)
    quiet = round_trips(system, QUIET)
    before = cpu.rss_mb(server)
    highest = Highest(server)
    command = [sys.executable, "-m", "benchmarks.flooder", kind, os.environ["TASKYARD_SERVER"]]
    flooder = system.processes.start("flooder", command)
    flooded = round_trips(system, SECONDS)
    system.processes.stop(flooder)
    most = highest.end()
    time.sleep(AFTER)
    after = cpu.rss_mb(server)
    return (
        f"{kind:14}{p99(quiet):8.1f}{p99(flooded):9.1f}{p99(flooded) / p99(quiet):8.1f}"
        f"{statistics.median(quiet):8.1f}{statistics.median(flooded):8.1f}{len(flooded):8}"
        f"{max(flooded):9.0f}{most - before:+9.0f}{after - before:+8.0f}"
    )


def main(kinds: list[str]) -> None:
    """Measure some kinds of flood, each in a process of its own, because a client stays with its server."""
    print(f"p99 and p50 in ms of a client beside a flood of {SECONDS:g} s; memory of the server in MB")
    heads = (
        ("quiet", 8),
        ("flooded", 9),
        ("ratio", 8),
        ("p50", 8),
        ("flooded", 8),
        ("trips", 8),
        ("longest", 9),
        ("peak", 9),
        ("after", 8),
    )
    print("flood".ljust(14) + "".join(head.rjust(width) for head, width in heads), flush=True)
    for kind in kinds:
        subprocess.run([sys.executable, "-m", "benchmarks.floods", ONE, kind], check=True)


def measure_one(kind: str) -> None:
    """Measure a kind of flood, and print its line."""
    system = TaskyardSystem("sqlite")
    print(alone(system, lambda: measure(system, kind)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE]:
        measure_one(sys.argv[2])
    else:
        main(sys.argv[1:] or [*KINDS, DEAF])
