"""What runs have logged: stored beside the log of runs, by a writer of its own, and removed by the day.

A record is known by its number, which is the time of its arrival in microseconds, and greater than that of
every record before it. So the number says on which day a record is stored, in which order records came, and
which go when a day goes: days are those of UTC.

A log store has one writer, which belongs to the owner of the database. It promises less than a commit does: a
record that was appended survives the end of every process of this control plane, and may be lost when the
machine loses its power, or the server of the database crashes. Nothing else depends on a record.

What can go wrong: `StorageFull` and `StorageUnavailable` as for a `Store`, after which a batch may be
appended again as it is; `NotOwner`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from taskyard_controlplane.storage.interface.rows import LogTuple

DAY_US: Final = 24 * 3600 * 1_000_000
"""The length of a day; the first one is 0."""


class LogPosition(NamedTuple):
    """Where a writer goes on."""

    last_id: int
    """The greatest number of a record, 0 without one."""
    last_seq: int
    """The greatest seq of a run that a record names: no other run may be given it."""
    marks: dict[bytes, int]
    """Up to which number the batches of sessions are stored."""


class LogDay(NamedTuple):
    """What is stored of one day."""

    begins_us: int
    size: int
    """In bytes, with its indexes."""


class LogStore(Protocol):
    """Writes records. `open`, `append`, `maintain` and `close` by one thread at a time; the others by any."""

    @property
    def appends_are_fast(self) -> bool:
        """Whether the next records, if they are few, are appended in so short a time that the event loop's
        own thread may do it.
        """
        ...

    upkeep_due: bool
    """Whether so much was appended that `maintain` should not wait."""

    def open(self, generation: int, now_us: int) -> LogPosition:
        """Begin to write, as the owner of a generation. The database has been opened before."""
        ...

    def append(self, rows: Sequence[LogTuple], marks: Mapping[bytes, int], now_us: int) -> None:
        """Store records, in the order of their numbers, and up to where sessions have sent theirs: all or
        nothing. What is stored already counts as done.
        """
        ...

    def maintain(self, now_us: int) -> None:
        """Do what must not delay anybody who appends: checkpoints, and room for the days to come."""
        ...

    def remove_before(self, time_us: int) -> list[LogDay]:
        """Remove all days that have ended before some time; returns which. The day that is being written
        stays. A day that cannot be removed now, because somebody reads it for long, is left to the next call.
        """
        ...

    def usage(self) -> list[LogDay]:
        """Return the days that are stored, oldest first."""
        ...

    def close(self) -> None:
        """Write no more."""
        ...


def day_of(log_id: int) -> int:
    """Return the number of the day on which a record is stored."""
    return log_id // DAY_US
