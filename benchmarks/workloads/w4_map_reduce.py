"""W4: a wide map and one task that takes the futures of all of it."""

import time
from collections.abc import Iterator

from benchmarks.results import Result, spread
from benchmarks.settings import Settings
from benchmarks.systems import System


def run(system: System, settings: Settings) -> Iterator[Result]:
    """Measure map and reduce together; the sum proves that every result arrived."""
    width = min(settings.width, system.most_width)
    rounds = min(settings.rounds, system.most_rounds)

    def body() -> list[float]:
        _timed(system, max(2, width // 10))
        return [_timed(system, width) for _ in range(rounds)]

    taken = system.inside(body)
    metrics = spread("total_ms", [each * 1e3 for each in taken], 2)
    metrics |= spread("runs_per_s", [(width + 1) / each for each in taken], 1) | {"rounds": rounds}
    yield Result("W4", system.name, "map-reduce", width, system.database, metrics)


def _timed(system: System, width: int) -> float:
    begin = time.perf_counter()
    answer = system.map_reduce(width)
    taken = time.perf_counter() - begin
    expected = width * (width - 1) // 2
    if answer != expected:
        raise RuntimeError(f"{system.name}: the reduce of {width} returned {answer!r}, not {expected}")
    return taken
