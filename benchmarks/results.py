"""The one schema of results: what a driver prints a line of, and what the report reads back."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

FAILED = "failed"
"""The variant of a result that stands for a failure."""

Metric = float | int | str | bool | None


@dataclass(frozen=True)
class Result:
    """One measured figure set; `skipped` says why there is none."""

    workload: str
    system: str
    variant: str
    n: int
    database: str
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    skipped: str = ""

    def to_json(self) -> str:
        """Return one line of JSON; an empty `skipped` is left out."""
        fields = asdict(self)
        if not self.skipped:
            del fields["skipped"]
        return json.dumps(fields)

    @classmethod
    def from_json(cls, line: str) -> "Result | None":
        """Read a line back; None when the line is something else that a driver printed."""
        if not line.startswith("{"):
            return None
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None


def spread(name: str, values: Sequence[float], digits: int = 3) -> dict[str, Metric]:
    """Return median, lowest and highest of the rounds as three metrics."""
    return {
        name: round(statistics.median(values), digits),
        f"{name}_min": round(min(values), digits),
        f"{name}_max": round(max(values), digits),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: always a value that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
