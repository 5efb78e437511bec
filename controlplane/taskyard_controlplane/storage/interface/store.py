"""What the owner needs from a database, in the owner's terms: the log of runs.

A store is used by one thread at a time, because one connection does all writing (and on SQLite all
checkpoints). Opening it makes this process the owner: it gets a generation greater than any before, and
every later transaction checks, inside itself, that no newer one exists. So a process that was paused, or
cut off from a network, finds out at its next commit that it has been replaced, whatever it believed until
then.

What can go wrong, and what then holds:

- `StorageUnavailable`: the database does not answer. Whether the last commit succeeded is unknown, so the
  same batch, under the same number and with `repeated` set, is tried until there is an answer; the commit
  log tells a repeated batch that it was committed the first time.
- `StorageFull`: nothing was written; the batch can be tried again with less in it.
- `RowsRefused`: nothing was written, and never will be while a row is in the batch that does not fit into the
  database; `refused_rows` tells which.
- `NotOwner`: a newer generation exists; nothing was written and nothing ever will be by this process.
- `DatabaseLost`: what was written is not there any more, because somebody removed or replaced it. What this
  process goes on to write may be lost as well, so it must stop.

Invariant: `Store.commit` is all or nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from taskyard_controlplane.storage.interface.batch import WriteBatch
from taskyard_controlplane.storage.interface.cache_entries import CacheEntries
from taskyard_controlplane.storage.interface.documents import Documents
from taskyard_controlplane.storage.interface.logs import LogStore
from taskyard_controlplane.storage.interface.refused_rows import RefusedRow
from taskyard_controlplane.storage.interface.removals import BlobRemovals, RunRemovals
from taskyard_controlplane.storage.interface.results import (
    BacklogPage,
    CommitResult,
    Ownership,
    ParkedRow,
    RunEnd,
    RunHead,
    StoredPayloads,
    StoredRun,
)
from taskyard_controlplane.storage.interface.rows import DispatchRow, EventRow, LogMarkRow, TemplateRow
from taskyard_controlplane.storage.interface.unused import UnusedRows


class Store(Protocol):
    """The one writer of a shard's database. Not thread-safe; every method blocks.

    Every method may raise `StorageUnavailable`, `StorageFull`, `NotOwner` and `DatabaseLost`, and those that
    are given values `RowsRefused`; the module says what holds then.
    """

    dialect: str
    """"sqlite" or "postgresql"."""

    small_commits_are_fast: bool
    checkpoint_due: bool
    """Whether the next commit does more than write, and takes longer for it."""
    """Whether a commit of a few rows is short enough to run on the event loop's own thread."""

    documents: Documents
    """The cold documents, written by the same owner but never part of a batch."""
    cache: CacheEntries
    """The entries of the cache, to be removed; commits write them."""
    removals: RunRemovals
    """Runs that are over, and what is about them."""
    blobs: BlobRemovals
    """Blobs that nobody refers to."""
    unused: UnusedRows
    """What runs share, as long as one names it."""
    logs: LogStore
    """What runs log; opened and closed by itself, and used beside commits."""

    def open(self) -> Ownership:
        """Create or upgrade the schema, become the owner, and say where counting goes on.

        MUST refuse with `DatabaseInUse` when another live process owns the database, and with `DatabaseLost`
        when it lacks what was written before, as far as that can be known.
        """
        ...

    def commit(self, batch: WriteBatch) -> CommitResult:
        """Write a batch in one transaction, and do its lookups inside it, after the writes.

        MUST insert every row of `new_runs` whose run id is new, and name the others in `duplicates`.
        MUST leave final runs as they are: an `ended` row of a run that has ended changes nothing.
        MUST keep the newest row per cache key.
        """
        ...

    def refused_rows(self, batch: WriteBatch) -> list[RefusedRow]:
        """Return the rows without which a batch that was refused can be written; writes nothing.

        Empty when the rows are not what is wrong with it.
        """
        ...

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Store a blob in a transaction of its own; a stored one is left alone."""
        ...

    def templates(self, ids: Sequence[int], digests: Sequence[bytes] = ()) -> list[TemplateRow]:
        """Return those of some templates that exist, by number: rows of runs refer to them so."""
        ...

    def template_digests(self) -> Iterator[bytes]:
        """Iterate over the digests of all templates there are, for a new owner."""
        ...

    def open_runs(self, low_seq: int) -> Iterator[RunHead]:
        """Iterate over runs in an open state from `low_seq` on that are not in the backlog, by seq."""
        ...

    def open_events(self, first_seq: int, last_seq: int) -> list[EventRow]:
        """Return the events of the open runs of a range of seqs, in the order they were written."""
        ...

    def events_of(self, seqs: Sequence[int]) -> list[EventRow]:
        """Return the events of some runs in the order they were written."""
        ...

    def dispatches(self) -> list[DispatchRow]:
        """Return the recorded dispatches in order."""
        ...

    def agent_numbers(self, agent_ids: Collection[str]) -> dict[str, int]:
        """Return the newest number of each of some agents, as far as they are recorded."""
        ...

    def log_marks(self) -> list[LogMarkRow]:
        """Return up to where the log records of sessions are recorded, those that changed last first."""
        ...

    def backlog_counts(self) -> list[tuple[str, int, int]]:
        """Return (lane, priority, number of runs) of the backlog."""
        ...

    def backlog_page(self, lane: str, priority: int, after_seq: int, limit: int) -> BacklogPage:
        """Return the open ones of the next `limit` runs of a lane of the backlog beyond `after_seq`."""
        ...

    def parked_page(self, lane: str, after_seq: int, limit: int) -> list[ParkedRow]:
        """Return what the next runs of a lane of the backlog beyond `after_seq` wait for, in order."""
        ...

    def backlog_of_session(self, session_id: bytes, after_seq: int, limit: int) -> BacklogPage:
        """Return the open runs of a session that are among the next `limit` of the backlog."""
        ...

    def backlog_of_flow(self, flow_seq: int, after_seq: int, limit: int) -> BacklogPage:
        """Return the next `limit` open runs inside a flow run that are in the backlog."""
        ...

    def runs_by_id(self, run_ids: Sequence[bytes]) -> list[StoredRun]:
        """Return those of some runs that exist."""
        ...

    def heads_by_id(self, run_ids: Sequence[bytes]) -> list[RunHead]:
        """Return those of some runs that exist, without what is large."""
        ...

    def heads_by_seq(self, seqs: Sequence[int]) -> list[RunHead]:
        """Return those of some runs that exist, without what is large, in no order."""
        ...

    def ends_by_id(self, run_ids: Sequence[bytes]) -> list[RunEnd]:
        """Return how those of some runs that exist have ended, or that they are open."""
        ...

    def states_by_id(self, run_ids: Sequence[bytes]) -> dict[bytes, int]:
        """Return the states of those of some runs that exist."""
        ...

    def payloads(self, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
        """Return the arguments of some runs by seq, and the outcomes of others by id; whoever asks knows how
        large they are, and asks for as much as memory should hold.
        """
        ...

    def used_bytes(self) -> int:
        """Return how much of the database's room holds something, about."""
        ...

    def free_bytes(self) -> int:
        """Return how much room the database holds that nothing is in."""
        ...

    def give_back(self) -> bool:
        """Give a little of the free room back to the system; says whether there is more to give."""
        ...

    def maintain(self) -> None:
        """Do background upkeep that must not delay commits: checkpoints, trimming. Called when idle."""
        ...

    def close(self) -> None:
        """Give the database up, so that another owner need not wait for a lease to lapse."""
        ...
