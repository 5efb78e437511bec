"""Puts together what was measured in several turns, in which the systems were measured one after the other.

What differs between the minutes of a run, because the disk or other guests of the machine are busy, then
differs for every system alike.
"""

import statistics
from collections.abc import Iterable
from dataclasses import replace

from benchmarks.results import Metric, Result


def merged(results: Iterable[Result]) -> list[Result]:
    """Make one result of those of the same name, with the median of each figure."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        name = (
            result.workload,
            result.system,
            result.variant,
            result.database,
            str(result.n),
            result.skipped,
        )
        groups.setdefault(name, []).append(result)
    return [
        group[0] if len(group) == 1 else replace(group[0], metrics=_medians(group))
        for group in groups.values()
    ]


def _medians(group: list[Result]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for name, first in group[0].metrics.items():
        figures = [value for each in group if isinstance(value := each.metrics.get(name), int | float)]
        found[name] = round(statistics.median(figures), 3) if figures else first
    return found | {"turns": len(group)}
