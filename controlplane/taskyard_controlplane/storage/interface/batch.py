"""Everything one transaction writes, and the lookups that ride on it."""

from operator import attrgetter
from typing import Any, Final

from taskyard_controlplane.storage.interface.tables import LISTS

_lists: Final = attrgetter(*LISTS)
_counted: Final = attrgetter(*LISTS, "blobs", "lookup_runs", "lookup_keys")


class WriteBatch:
    """One transaction in the making; the owner appends to its lists and numbers it within its generation.

    Attributes:
        number: Counts up within the generation; what the commit log knows the batch by.
        repeated: A COMMIT of this batch was tried before and its outcome is unknown.
        now_us: When it was written; cache entries that expire before are not found.
        blobs: Digest and data, in parts in two tables and so no rows; existing ones are left alone.
        dispatched_below: Dispatch rows with a lower number may go.
        low_seq: No open run has a lower seq; recovery begins there.
        ended_badly: Runs that end in this batch otherwise than completed. One that does not is passed over.
        lookup_runs: Ids of runs to return, as they are after the writes.
        lookup_keys: Cache keys to look up, after the writes.
        backlog_removed: Queue, priority: up to this seq, inclusive.
        log_marks_removed: Last changed up to this time, inclusive.
    """

    __slots__ = (
        *LISTS, "blobs", "dispatched_below", "lookup_keys", "lookup_runs", "low_seq", "now_us", "number",
        "repeated",
    )  # fmt: skip

    templates: list[tuple[int, bytes, bytes, str]]
    agents: list[tuple[int, str, str, int]]
    new_runs: list[tuple[object, ...]]
    keys: list[tuple[object, ...]]
    reopened: list[tuple[object, ...]]
    bad_ends_removed: list[tuple[int, int, int]]
    ended: list[tuple[object, ...]]
    ended_badly: list[tuple[int]]
    events: list[tuple[object, ...]]
    logs: list[tuple[object, ...]]
    log_marks: list[tuple[bytes, int, int]]
    log_marks_removed: list[tuple[int]]
    dispatches: list[tuple[object, ...]]
    backlog_added: list[tuple[str, int, int]]
    backlog_removed: list[tuple[str, int, int]]
    backlog_taken: list[tuple[int]]
    cache: list[tuple[str, int, int | None]]
    blobs_named: list[tuple[str, int, int, int]]
    blob_refs: list[tuple[int, int, str, str | None]]

    def __init__(self, number: int) -> None:
        self.number = number
        self.repeated = False
        self.now_us = 0
        for name in LISTS:
            setattr(self, name, [])
        self.blobs: list[tuple[bytes, bytes]] = []
        self.dispatched_below: int | None = None
        self.low_seq: int | None = None
        self.lookup_runs: list[bytes] = []
        self.lookup_keys: list[str] = []

    def lists(self) -> tuple[list[tuple[Any, ...]], ...]:
        """Return the lists of rows in the order of `WRITES`."""
        lists: tuple[list[tuple[Any, ...]], ...] = _lists(self)
        return lists

    def rows(self) -> int:
        """Return how much there is to write or look up; 0 means the batch can be skipped."""
        return sum(map(len, _counted(self)))
