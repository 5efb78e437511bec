"""W1: many no-op tasks at once: runs per second, and processor time per run of every process."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.cpu import Meter
from benchmarks.results import Metric, Result, spread
from benchmarks.settings import Settings
from benchmarks.systems import System


@dataclass(frozen=True)
class Round:
    """One timed bulk: its wall time and the processor seconds of each role."""

    seconds: float
    cpu: dict[str, float]


def run(system: System, settings: Settings) -> Iterator[Result]:
    """Measure each way the system takes many tasks."""
    n = min(settings.n, system.most_bulk)
    for variant in system.bulk_variants:
        rounds = measure(system, variant, n, min(settings.rounds, system.most_rounds))
        yield Result("W1", system.name, variant, n, system.database, metrics_of(rounds, n))


def measure(system: System, variant: str, n: int, rounds: int) -> list[Round]:
    """Warm up with a tenth of the work, then time the rounds."""

    def body() -> list[Round]:
        system.bulk(variant, max(1, n // 10))
        return [_one_round(system, variant, n) for _ in range(rounds)]

    return system.inside(body)


def _one_round(system: System, variant: str, n: int) -> Round:
    meter = Meter(system.roles())
    begin = time.perf_counter()
    system.bulk(variant, n)
    seconds = time.perf_counter() - begin
    return Round(seconds, meter.spent(system.roles()))


def metrics_of(rounds: list[Round], n: int) -> dict[str, Metric]:
    """Return runs/s with its spread, and median microseconds of CPU per run, in all and by role."""
    metrics = spread("runs_per_s", [n / each.seconds for each in rounds], 1)
    metrics |= spread("cpu_us_per_run", [sum(each.cpu.values()) * 1e6 / n for each in rounds], 1)
    for role in rounds[-1].cpu:
        used = statistics.median(each.cpu.get(role, 0.0) for each in rounds)
        metrics[f"cpu_us_per_run_{role}"] = round(used * 1e6 / n, 1)
    return metrics | {"rounds": len(rounds)}
