"""What everybody but the owner needs from a database: to read."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from taskyard_controlplane.storage.interface.cache_entries import CacheReader
from taskyard_controlplane.storage.interface.documents import DocumentReader
from taskyard_controlplane.storage.interface.results import (
    CalledRun,
    EndedCounts,
    ListedRun,
    OpenRuns,
    RunPage,
    RunSums,
    StoredLog,
    StoredPayloads,
)
from taskyard_controlplane.storage.interface.rows import EventRow

LAST_LOG: Final = (1 << 63) - 1
"""A number beyond those of all log records."""
MOST_LOOKED_AT: Final = 100_000
"""Runs that one search looks at: a tenth of a second's work."""


class RunFilter(NamedTuple):
    """Which runs a listing is about; all that is set has to agree."""

    kind: int = 0  # 0: all
    flow_seq: int | None = None
    states: tuple[int, ...] = ()
    name_contains: str = ""
    run_ids: tuple[bytes, ...] | None = None
    """Only these; None for all."""
    task_name: str = ""
    task_key: str = ""
    tags: tuple[str, ...] = ()  # all of them
    queue: str = ""
    caller_id: bytes = b""
    from_us: int = 0  # submitted then or later; 0: no matter when
    before_us: int = 0


class Reader(Protocol):
    """Read-only access for listings. Thread-safe; every method blocks and uses a connection of its own."""

    documents: DocumentReader
    """The cold documents, as they were committed last."""
    cache: CacheReader
    """The entries of the cache, as they were committed last."""

    def run(self, run_id: bytes) -> ListedRun | None:
        """Return one run as it was committed last; None if there is none."""
        ...

    def learn_templates(self) -> bool:
        """Read some of what filters by task, tag and queue go by; whether all of it is known now.

        Whatever is not known yet, the next call with such a filter reads in one go.
        """
        ...

    def runs(
        self,
        wanted: RunFilter,
        beyond_seq: int | None,
        limit: int,
        most: int = MOST_LOOKED_AT,
        *,
        oldest_first: bool = False,
        whole: bool = False,
    ) -> RunPage:
        """Return runs beyond `beyond_seq`, newest first unless it is said otherwise.

        Their arguments and bare results are left out, unless `whole`. Fewer than `limit` do not mean that
        there are no more: what has no index is looked for among `most` runs, and in a second call among as
        many behind them.
        """
        ...

    def ended_counts(self, wanted: RunFilter, most: int = MOST_LOOKED_AT) -> EndedCounts:
        """Count the ended runs that fit, by state, among the newest `most`."""
        ...

    def open_runs(
        self, wanted: RunFilter, beyond_seq: int | None, limit: int, most: int = MOST_LOOKED_AT
    ) -> OpenRuns:
        """Return runs beyond `beyond_seq` that have not ended and fit otherwise, newest first.

        They are looked for among `most` runs, as by `runs`.
        """
        ...

    def sums(self, flow_seq: int, beyond_seq: int | None, most: int, *, details: bool) -> RunSums:
        """Sum up at most `most` runs inside a flow run, oldest first, beyond `beyond_seq`.

        With details: by the task of their caller and by how long they took, too.
        """
        ...

    def calls(self, flow_seq: int, beyond_seq: int, limit: int) -> list[CalledRun]:
        """Return runs that the body of a flow run has called itself, oldest first, beyond a number."""
        ...

    def last_events(self, run_seqs: Sequence[int]) -> dict[int, EventRow]:
        """Return the last event of each of some runs that has any, by the run's number."""
        ...

    def events(self, run_seq: int) -> list[EventRow]:
        """Return a run's events in the order they were written."""
        ...

    def logs(
        self, run_seq: int, after_id: int, limit: int, max_bytes: int, up_to_id: int = LAST_LOG
    ) -> list[StoredLog]:
        """Return log records of a run, and of the runs inside it when it is a flow run, by id.

        As many as have `max_bytes` together, at least one if there is any; texts beyond `LOG_LIMIT` are cut.
        None beyond `up_to_id`: one with a lower number may become visible later, and would be passed over.
        """
        ...

    def logs_removed_before_us(self) -> int:
        """Return up to when what runs have logged was removed; 0 when nothing was."""
        ...

    def database_id(self) -> str:
        """Return what an owner has named the database, which no other has; empty before there is one."""
        ...

    def missing_blobs(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return those digests that are not stored."""
        ...

    def blob_size(self, digest: bytes) -> int | None:
        """Return a blob's size, None when it is not stored."""
        ...

    def blob_parts(self, digest: bytes, offset: int = 0) -> Iterator[bytes]:
        """Iterate over a blob's parts from a byte on, at most 1 MiB each."""
        ...

    def payloads(self, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
        """Return the arguments of some runs by seq, and the outcomes of others by id, as `Store.payloads`."""
        ...

    def close(self) -> None:
        """Close all connections; a call in another thread may fail then."""
        ...
