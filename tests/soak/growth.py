"""What grows that should stay as it is: figures of a program that does the same again and again. Pure.

The figures of the first waves do not count: caches fill, and nothing is old enough to be removed yet. Of the
others the median of the first ones is compared with that of the last ones, because a single figure depends on
the moment it was read in: a database's log is folded back now and then, memory is freed when much is free.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PART: Final = 4
"""The first and the last fourth are compared."""
FEWEST: Final = 8
"""Waves after the warm-up; with less there is nothing to compare."""


@dataclass(frozen=True)
class Allowed:
    """How much more may be there in the end: whichever is more."""

    megabytes: float
    share: float


@dataclass(frozen=True)
class Wave:
    """What was there after a wave."""

    at: float
    """Seconds since the start."""
    megabytes: Mapping[str, float]


def grown(waves: Sequence[Wave], warm_up: float, allowed: Mapping[str, Allowed]) -> list[str]:
    """Return a sentence for everything that grew by more than is allowed.

    Args:
        waves: In the order in which they were.
        warm_up: Waves before this second do not count.
        allowed: For each figure.

    Raises:
        ValueError: There are too few waves after the warm-up to say anything.
    """
    counted = [wave for wave in waves if wave.at >= warm_up]
    if len(counted) < FEWEST:
        raise ValueError(
            f"there were {len(counted)} waves after the first {warm_up:.0f} s, and it takes {FEWEST} to"
            " compare; give it more time"
        )
    part = len(counted) // PART
    faults = []
    for name, limit in allowed.items():
        first, last = (
            statistics.median(wave.megabytes[name] for wave in some)
            for some in (counted[:part], counted[-part:])
        )
        if last - first > max(limit.megabytes, limit.share * first):
            faults.append(f"{name} grew from {first:.1f} to {last:.1f} MB in {len(counted)} waves")
    return faults
