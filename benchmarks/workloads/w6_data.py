"""W6: values from task to task: arrays of 20 MB and of 1 MB, and one of the client's that many tasks read."""

import time
from collections.abc import Callable, Iterator

from benchmarks import arrays
from benchmarks.cpu import Meter, Peaks
from benchmarks.results import Metric, Result
from benchmarks.settings import Settings
from benchmarks.systems import System

MB = 1_000_000
SIZES = {"20 MB": (40, 20 * MB), "1 MB": (400, MB)}
"""How many there are, and of which size."""
SHARED = (100, 100 * MB)
"""How many tasks read the client's array, and its size."""


def run(system: System, settings: Settings) -> Iterator[Result]:
    """Measure each size once, and the shared array; a system is measured in several turns, anew in each."""
    empty = system.stored_mb()
    moved_mb = 0.0

    def body() -> list[Result]:
        _check(system.move(2, MB), [arrays.expected(number, MB) for number in range(2)])
        return [*(_moved(system, name, settings) for name in SIZES), _shared(system, settings)]

    for result in system.inside(body):
        moved_mb += float(result.metrics["moved_mb"] or 0)
        yield result
    if empty is not None and system.prune():
        left = (system.stored_mb() or 0.0) - empty
        metrics: dict[str, Metric] = {"left_mb": round(left, 1), "left_share": round(left / moved_mb, 3)}
        yield Result("W6", system.name, "pruned", int(moved_mb), system.database, metrics)


def _moved(system: System, variant: str, settings: Settings) -> Result:
    full, size = SIZES[variant]
    count = settings.scaled(full)
    want = [arrays.expected(number, size) for number in range(count)]
    metrics = _measured(system, count * size, want, lambda: system.move(count, size))
    return Result("W6", system.name, variant, count, system.database, metrics)


def _shared(system: System, settings: Settings) -> Result:
    count, size = settings.scaled(SHARED[0]), settings.scaled(SHARED[1], MB) // MB * MB
    want = [arrays.expected(1, size)] * count
    metrics = _measured(system, size, want, lambda: system.share(count, size))
    return Result("W6", system.name, "shared", count, system.database, metrics | {"size_mb": size // MB})


def _measured(
    system: System, moved: int, want: list[float], body: Callable[[], list[float]]
) -> dict[str, Metric]:
    """Return how long it took, with the processor's time, the most memory, and what it left on the disk."""
    stored, roles = system.stored_mb(), system.roles()
    peaks, meter = Peaks(roles), Meter(roles)
    begin = time.perf_counter()
    found = body()
    seconds = time.perf_counter() - begin
    _check(found, want)
    metrics: dict[str, Metric] = {"total_ms": round(seconds * 1e3, 1), "moved_mb": moved / MB}
    metrics["cpu_ms"] = round(sum(meter.spent(roles).values()) * 1e3)
    metrics |= peaks.metrics()
    if stored is not None:
        grown = (system.stored_mb() or 0.0) - stored
        metrics |= {"stored_mb": round(grown, 1), "stored_share": round(grown * MB / moved, 3)}
    return metrics


def _check(found: list[float], want: list[float]) -> None:
    if found != want:
        raise RuntimeError(f"the arrays did not arrive as they were made: {found[:5]}, not {want[:5]}")
