"""Counters of the owner: plain ints, because the hot path must not touch a metrics library.

The probe turns them into an exposition format when it is asked.
"""


class Metrics:
    """What the owner counts since it began; read by the metrics page and by tests."""

    __slots__ = (
        "adopted_runs",
        "assigned_runs",
        "cache_hits",
        "cache_misses",
        "commit_failures",
        "commit_seconds",
        "commits",
        "committed_rows",
        "dropped_logs",
        "ended",
        "infra_retries",
        "leases_expired",
        "refused_runs",
        "retries",
        "stale_reports",
        "submitted_runs",
        "unstorable_rows",
    )

    def __init__(self) -> None:
        """Count from when this owner began."""
        self.submitted_runs = 0
        self.refused_runs = 0
        self.assigned_runs = 0
        self.adopted_runs = 0
        self.ended: dict[int, int] = {}
        self.retries = 0
        self.infra_retries = 0
        self.stale_reports = 0
        self.leases_expired = 0
        self.cache_hits = 0
        self.cache_misses = 0
        self.commits = 0
        self.commit_failures = 0
        self.committed_rows = 0
        self.commit_seconds = 0.0
        self.unstorable_rows = 0
        self.dropped_logs = 0

    def count_ended(self, state: int, count: int = 1) -> None:
        """Count runs that ended in a state."""
        self.ended[state] = self.ended.get(state, 0) + count
