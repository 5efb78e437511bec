"""W8: a graph of many small tasks, each with two edges, submitted whole with futures as arguments."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import cpu
from benchmarks.results import Result, spread
from benchmarks.settings import Settings
from benchmarks.systems import System

FULL = 100_000
WIDTH = 1_000
_MOST_ROUNDS = 3


@dataclass(frozen=True)
class Round:
    """One graph: how long it took, and what it added to the client's memory at most."""

    seconds: float
    grown_mb: float


def run(system: System, settings: Settings) -> Iterator[Result]:
    """Measure rounds of graphs; the values of the last layer prove that every edge was followed."""
    wanted = min(settings.scaled(FULL, 20), system.most_graph)
    width = min(WIDTH, wanted // 10)
    layers = wanted // width
    rounds = min(settings.rounds, system.most_rounds, _MOST_ROUNDS)

    def body() -> list[Round]:
        _once(system, max(2, layers // 10), width)
        return [_once(system, layers, width) for _ in range(rounds)]

    taken, n = system.inside(body), layers * width
    metrics = spread("runs_per_s", [n / each.seconds for each in taken], 1) | {"rounds": rounds}
    metrics["client_grown_mb"] = round(max(each.grown_mb for each in taken), 1)
    metrics["client_bytes_per_run"] = round(max(each.grown_mb for each in taken) * 1e6 / n)
    yield Result("W8", system.name, "graph", n, system.database, metrics)


def _once(system: System, layers: int, width: int) -> Round:
    """The client's memory is what it has in all: what an earlier round left free is used again."""
    before = cpu.rss_mb(os.getpid())
    cpu.reset_peak(os.getpid())
    begin = time.perf_counter()
    found = system.graph(layers, width)
    seconds = time.perf_counter() - begin
    if found != expected(layers, width):
        raise RuntimeError(f"{system.name}: the graph of {layers} x {width} returned {found[:5]}...")
    return Round(seconds, cpu.peak_mb(os.getpid()) - before)


def expected(layers: int, width: int) -> list[int]:
    """Return the values of the last layer."""
    values = list(range(width))
    for _ in range(layers - 1):
        values = [add(values[position - 1], values[position]) for position in range(width)]
    return values


def add(left: int, right: int) -> int:
    """What every task of the graph does; the values stay small, however many layers there are."""
    return (left + right) % 1_000_003
