"""How much one run may log: what is beyond that is left out, and the last record says so.

A run that logs in an endless loop would otherwise fill the disk for all. It is counted in memory, from the
first record of a run to its end; after a restart of the server a run may log as much once more.
"""

from enum import Enum, auto
from typing import Final, NamedTuple


class LogLimits(NamedTuple):
    """Most records of a run, and most bytes of text."""

    max_records: int = 100_000
    max_bytes: int = 64 * 1024 * 1024

    def reached(self) -> str:
        """Say, as the last record of a run, that there are no more."""
        return (
            f"this run has logged {self.max_records} records or {self.max_bytes} bytes, as much as is kept "
            "of a run; what it logs from here on is left out"
        )


DEFAULT_LIMITS: Final = LogLimits()


class Verdict(Enum):
    """What becomes of a record."""

    KEPT = auto()
    REPLACED = auto()
    """Instead of it the log says that the rest is left out."""
    LEFT_OUT = auto()


KEPT, REPLACED, LEFT_OUT = Verdict


class LogCounts:
    """What open runs have logged."""

    def __init__(self, limits: LogLimits) -> None:
        """Count up to `limits`."""
        self.limits = limits
        self.runs: dict[int, list[int]] = {}
        """Records and bytes, by the seq of the run. To be looked at before `forget` is called."""

    def take(self, run_seq: int, size: int) -> Verdict:
        """Count a record of so many bytes."""
        counted = self.runs.get(run_seq)
        if counted is None:
            counted = self.runs[run_seq] = [0, 0]
        records, total = counted
        counted[0], counted[1] = records + 1, total + size
        most, most_bytes = self.limits
        if records < most and total + size <= most_bytes:
            return KEPT
        return LEFT_OUT if records > most or total > most_bytes else REPLACED

    def forget(self, run_seq: int) -> None:
        """Count a run no more: it has ended."""
        self.runs.pop(run_seq, None)
