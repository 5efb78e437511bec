"""What the owner needs from a database, in the owner's terms.

One `Store` writes; it is used by one thread at a time. `Reader`s answer everybody else from connections
of their own. Rows travel as plain tuples in the order of the named tuples below, because an object per
row would cost more than the row.

Invariant: `Store.commit` is all or nothing, and it fails with `NotOwner` when a newer generation exists.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class NewRunRow(NamedTuple):
    """Inserted when a run is submitted; never changed afterwards."""

    seq: int
    run_id: bytes
    kind: int
    state: int
    flow_seq: int | None
    parent_id: bytes | None
    session_id: bytes | None
    template_id: int
    ordinal: int
    name: str | None
    args: bytes | None
    args_blob: bytes | None  # a serialised BlobRef
    cache_key: str | None
    upstream: bytes | None  # per edge: 16 bytes id, 1 byte UpstreamKind
    submitted_us: int


class EndedRow(NamedTuple):
    """Updates a run once, when it ends; `seq` comes last, as the statement wants it."""

    state: int
    reason: int
    attempt: int
    infra_retries: int
    epoch: int
    started_us: int | None
    ended_us: int
    result: bytes | None  # an ordinary inline result in the template's encoding
    outcome: bytes | None  # a serialised RunOutcome, for everything else
    seq: int


class EventRow(NamedTuple):
    """Appended for every exception to the happy path: retries, lost leases, cancellations."""

    run_seq: int
    at_us: int
    state: int
    reason: int
    attempt: int
    infra_retries: int
    epoch: int
    due_us: int | None
    state_name: str | None
    message: str | None


class DispatchRow(NamedTuple):
    """One batch of assignments; read back only by recovery."""

    number: int
    agent_id: str
    session_id: bytes
    at_us: int
    entries: bytes  # per run: 8 bytes seq, 8 bytes epoch, little endian


class BacklogRow(NamedTuple):
    """A queued run beyond the memory window."""

    queue: str
    priority: int
    seq: int


class CacheRow(NamedTuple):
    """The newest result under a cache key."""

    cache_key: str
    run_seq: int
    expires_us: int | None


class LogRow(NamedTuple):
    """A log record."""

    run_seq: int
    flow_seq: int | None
    at_us: int
    level: int
    logger: str
    message: str


class TemplateRow(NamedTuple):
    """A template, kept once per content."""

    template_id: int
    digest: bytes
    definition: bytes  # a serialised RunTemplate


class StoredRun(NamedTuple):
    """A run as it is recorded."""

    seq: int
    run_id: bytes
    kind: int
    state: int
    reason: int
    flow_seq: int | None
    parent_id: bytes | None
    session_id: bytes | None
    template_id: int
    ordinal: int
    name: str | None
    args: bytes | None
    args_blob: bytes | None
    cache_key: str | None
    upstream: bytes | None
    submitted_us: int
    attempt: int
    infra_retries: int
    epoch: int
    started_us: int | None
    ended_us: int | None
    result: bytes | None
    outcome: bytes | None


class CachedResult(NamedTuple):
    """A usable result under a cache key."""

    cache_key: str
    run_seq: int
    template_id: int
    result: bytes | None
    outcome: bytes | None


class WriteBatch:
    """Everything one transaction writes, and the lookups that ride on it."""

    __slots__ = (
        "backlog_added",
        "backlog_removed",
        "blobs",
        "cache",
        "dispatched_below",
        "dispatches",
        "ended",
        "events",
        "logs",
        "lookup_keys",
        "lookup_runs",
        "low_seq",
        "new_runs",
        "now_us",
        "number",
        "repeated",
        "templates",
    )

    def __init__(self, number: int) -> None:
        """Start an empty batch; `number` counts up within the generation."""
        self.number = number
        self.repeated = False  # a COMMIT of this batch was tried before and its outcome is unknown
        self.now_us = 0
        self.templates: list[tuple[int, bytes, bytes]] = []
        self.blobs: list[tuple[bytes, bytes]] = []  # digest, data; existing ones are left alone
        self.new_runs: list[tuple[object, ...]] = []
        self.ended: list[tuple[object, ...]] = []
        self.events: list[tuple[object, ...]] = []
        self.dispatches: list[tuple[object, ...]] = []
        self.dispatched_below: int | None = None  # dispatch rows with a lower number may go
        self.backlog_added: list[tuple[str, int, int]] = []
        self.backlog_removed: list[tuple[str, int, int]] = []  # queue, priority: up to this seq, inclusive
        self.cache: list[tuple[str, int, int | None]] = []
        self.logs: list[tuple[object, ...]] = []
        self.low_seq: int | None = None  # no open run has a lower seq
        self.lookup_runs: list[bytes] = []
        self.lookup_keys: list[str] = []

    def rows(self) -> int:
        """Return how much there is to write or look up; 0 means the batch can be skipped."""
        return (
            len(self.templates)
            + len(self.blobs)
            + len(self.new_runs)
            + len(self.ended)
            + len(self.events)
            + len(self.dispatches)
            + len(self.backlog_added)
            + len(self.backlog_removed)
            + len(self.cache)
            + len(self.logs)
            + len(self.lookup_runs)
            + len(self.lookup_keys)
        )


class CommitResult(NamedTuple):
    """What a commit found."""

    runs: list[StoredRun]  # for `lookup_runs`, those that exist
    cached: list[CachedResult]  # for `lookup_keys`, those usable at `now_us`
    duplicates: list[bytes]  # ids among `new_runs` that existed before; those rows were not written


class Ownership(NamedTuple):
    """What `Store.open` acquired."""

    generation: int  # greater than any before
    next_seq: int  # the first free run seq
    next_template_id: int
    low_seq: int  # no open run has a lower seq
    next_dispatch: int


class Store(Protocol):
    """The one writer of a shard's database. Not thread-safe; every method blocks.

    Every method may raise `StorageUnavailable` (the database does not answer; after it the outcome of a
    commit is unknown and the same batch must be tried again with `repeated` set), `StorageFull` (nothing
    was written) and `NotOwner` (a newer generation exists: stop).
    """

    dialect: str
    """"sqlite" or "postgresql"."""

    small_commits_are_fast: bool
    """Whether a commit of a few rows is short enough to run on the event loop's own thread."""

    def open(self) -> Ownership:
        """Create or upgrade the schema, become the owner, and say where counting goes on.

        MUST refuse with `DatabaseInUse` when another live process owns the database.
        """
        ...

    def commit(self, batch: WriteBatch) -> CommitResult:
        """Write a batch in one transaction, and do its lookups inside it, after the writes.

        MUST insert every row of `new_runs` whose run id is new, and name the others in `duplicates`.
        MUST leave final runs as they are: an `ended` row of a run that has ended changes nothing.
        MUST keep the newest row per cache key.
        """
        ...

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Store a blob of up to 64 MiB in a transaction of its own; a stored one is left alone."""
        ...

    def templates(self) -> list[TemplateRow]:
        """Return all templates."""
        ...

    def open_runs(self, low_seq: int) -> Iterator[StoredRun]:
        """Iterate over runs in an open state from `low_seq` on that are not in the backlog, by seq."""
        ...

    def events_of(self, seqs: Sequence[int]) -> list[EventRow]:
        """Return the events of some runs in the order they were written."""
        ...

    def dispatches(self) -> list[DispatchRow]:
        """Return the recorded dispatches in order."""
        ...

    def backlog_counts(self) -> list[tuple[str, int, int]]:
        """Return (queue, priority, number of runs) of the backlog."""
        ...

    def backlog_page(self, queue: str, priority: int, after_seq: int, limit: int) -> list[StoredRun]:
        """Return the next runs of the backlog beyond `after_seq`, in order, ended ones included."""
        ...

    def backlog_of_session(self, session_id: bytes) -> list[StoredRun]:
        """Return the backlog's open runs that belong to a session."""
        ...

    def backlog_of_flow(self, flow_seq: int) -> list[StoredRun]:
        """Return the backlog's open runs that belong to a flow run."""
        ...

    def runs_by_id(self, run_ids: Sequence[bytes]) -> list[StoredRun]:
        """Return those of some runs that exist."""
        ...

    def maintain(self) -> None:
        """Do background upkeep that must not delay commits: checkpoints, trimming. Called when idle."""
        ...

    def close(self) -> None:
        """Give the database up."""
        ...


class RunFilter(NamedTuple):
    """Which runs to list."""

    kind: int = 0  # 0: all
    flow_seq: int | None = None
    states: tuple[int, ...] = ()
    name_contains: str = ""


class ListedRun(NamedTuple):
    """A run for people: the record with its template's definition and its flow run's id."""

    run: StoredRun
    definition: bytes
    flow_run_id: bytes | None


class StoredLog(NamedTuple):
    """A log record with the run that wrote it."""

    log_id: int
    run_id: bytes
    at_us: int
    level: int
    logger: str
    message: str
    run_name: str


class Reader(Protocol):
    """Read-only access for listings. Thread-safe; every method blocks and uses a connection of its own."""

    def run(self, run_id: bytes) -> ListedRun | None:
        """Return one run."""
        ...

    def runs(self, wanted: RunFilter, before_seq: int | None, limit: int) -> list[ListedRun]:
        """Return runs, newest first, below `before_seq`."""
        ...

    def events(self, run_seq: int) -> list[EventRow]:
        """Return a run's events in the order they were written."""
        ...

    def logs(self, run_seq: int, after_id: int, limit: int) -> list[StoredLog]:
        """Return log records of a run, and of the runs inside it when it is a flow run, by id."""
        ...

    def missing_blobs(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return those digests that are not stored."""
        ...

    def blob_size(self, digest: bytes) -> int | None:
        """Return a blob's size, None when it is not stored."""
        ...

    def blob_parts(self, digest: bytes) -> Iterator[bytes]:
        """Iterate over a blob's parts, at most 1 MiB each."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
