"""W2: one task at a time on an idle system: the time from submission to result."""

import time
from collections.abc import Iterator

from benchmarks.results import Result, percentile
from benchmarks.settings import Settings
from benchmarks.systems import System

_WARM_UP = 20


def run(system: System, settings: Settings) -> Iterator[Result]:
    """Measure sequential round trips; a wrong answer stops the benchmark."""
    n = min(settings.round_trips, system.most_round_trips)

    def body() -> list[float]:
        for value in range(min(_WARM_UP, n)):
            system.round_trip(value)
        return [timed(system, value) for value in range(n)]

    taken = system.inside(body)
    metrics = {
        "p50_ms": round(percentile(taken, 0.50) * 1e3, 3),
        "p99_ms": round(percentile(taken, 0.99) * 1e3, 3),
        "min_ms": round(min(taken) * 1e3, 3),
    }
    yield Result("W2", system.name, "sequential", n, system.database, metrics)


def timed(system: System, value: int) -> float:
    """Return the seconds of one round trip."""
    begin = time.perf_counter()
    answer = system.round_trip(value)
    taken = time.perf_counter() - begin
    if answer != value:
        raise RuntimeError(f"{system.name}: the task got {value} and returned {answer!r}")
    return taken
