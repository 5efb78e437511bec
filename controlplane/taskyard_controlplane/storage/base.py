"""What the two stores share: one connection with its faults, and the owner's reads.

A store has one connection at a time. Reads of the owner go through it as well, on the writer's thread: so a
read sees all that was committed before it was asked for, which recovery, backlog and look-ups rely on.
Other people's reads go through `DatabaseReader`, and may be a moment behind.

What a driver raises is sorted here, once: a full disk, and a row that does not fit into the database, leave
the connection sound and the transaction undone; anything else of the database's doing makes the connection
suspect, so it is thrown away and the next call makes a new one; what is not of its doing is a defect of ours,
and goes through as it is.

Invariant: no error of a driver leaves a store; those the database causes become errors of the contract, and
a connection that failed is thrown away, so that the next call starts with a new one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Final

from sqlalchemy import Connection

from taskyard_controlplane.storage import ownership, records
from taskyard_controlplane.storage.blobs import store_blob
from taskyard_controlplane.storage.cache_entries import OwnedCacheEntries
from taskyard_controlplane.storage.documents import OwnedDocuments
from taskyard_controlplane.storage.engine import Target
from taskyard_controlplane.storage.faults import Connected
from taskyard_controlplane.storage.interface import (
    BacklogPage,
    CacheEntries,
    CommitResult,
    DispatchRow,
    Documents,
    EventRow,
    LogMarkRow,
    LogStore,
    ParkedRow,
    RefusedRow,
    RunEnd,
    RunHead,
    StoredPayloads,
    StoredRun,
    TemplateRow,
    WriteBatch,
)
from taskyard_controlplane.storage.interface.removals import BlobRemovals, RunRemovals
from taskyard_controlplane.storage.interface.unused import UnusedRows
from taskyard_controlplane.storage.refused_rows import find_refused
from taskyard_controlplane.storage.retention.blobs import OwnedBlobRemovals
from taskyard_controlplane.storage.retention.runs import OwnedRunRemovals
from taskyard_controlplane.storage.retention.unused import OwnedUnusedRows

_DIGESTS: Final = 10_000
_PAGE: Final = 5_000  # runs read at a time by recovery


class BaseStore(Connected, ABC):
    """Connection keeping and reads; `Store` says what its methods promise."""

    def __init__(self, target: Target, clock: Callable[[], float] = monotonic) -> None:
        """Name the database; nothing is opened yet.

        Args:
            target: Which database.
            clock: Seconds that never jump.
        """
        super().__init__(target)
        self._clock = clock
        self._generation = 0
        self._number = 0  # of the newest batch committed
        self._low_seq = 1
        self.documents: Documents = OwnedDocuments(self._connected, self._owning)
        self.cache: CacheEntries = OwnedCacheEntries(self._owning)
        self.removals: RunRemovals = OwnedRunRemovals(self._owning)
        self.blobs: BlobRemovals = OwnedBlobRemovals(self._owning)
        self.unused: UnusedRows = OwnedUnusedRows(self._owning)
        self.logs: LogStore

    def refused_rows(self, batch: WriteBatch) -> list[RefusedRow]:
        return find_refused(batch, self._attempt)

    @abstractmethod
    def _attempt(self, batch: WriteBatch) -> None:
        """Write the rows of a batch, and take them back."""

    def put_blob(self, digest: bytes, data: bytes) -> None:
        with self._owning() as connection:
            store_blob(connection, digest, data)

    def templates(self, ids: Sequence[int], digests: Sequence[bytes] = ()) -> list[TemplateRow]:
        with self._connected() as connection:
            return records.templates(connection, ids, digests)

    def template_digests(self) -> Iterator[bytes]:
        last = b""
        while True:
            with self._connected() as connection:
                page = records.template_digests_page(connection, last, _DIGESTS)
            yield from page
            if len(page) < _DIGESTS:
                return
            last = page[-1]

    def open_runs(self, low_seq: int) -> Iterator[RunHead]:
        while True:
            with self._connected() as connection:
                page = records.open_runs_page(connection, low_seq, _PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            low_seq = page[-1].seq + 1

    def open_events(self, first_seq: int, last_seq: int) -> list[EventRow]:
        with self._connected() as connection:
            return records.open_events(connection, first_seq, last_seq)

    def events_of(self, seqs: Sequence[int]) -> list[EventRow]:
        with self._connected() as connection:
            return records.events_of(connection, seqs)

    def dispatches(self) -> list[DispatchRow]:
        with self._connected() as connection:
            return records.dispatches(connection)

    def agent_numbers(self, agent_ids: Collection[str]) -> dict[str, int]:
        if not agent_ids:
            return {}
        with self._connected() as connection:
            return records.agent_numbers(connection, agent_ids)

    def log_marks(self) -> list[LogMarkRow]:
        with self._connected() as connection:
            return records.log_marks(connection)

    def backlog_counts(self) -> list[tuple[str, int, int]]:
        with self._connected() as connection:
            return records.backlog_counts(connection)

    def backlog_page(self, lane: str, priority: int, after_seq: int, limit: int) -> BacklogPage:
        with self._connected() as connection:
            return records.backlog_page(connection, lane, priority, after_seq, limit)

    def parked_page(self, lane: str, after_seq: int, limit: int) -> list[ParkedRow]:
        with self._connected() as connection:
            return records.parked_page(connection, lane, after_seq, limit)

    def backlog_of_session(self, session_id: bytes, after_seq: int, limit: int) -> BacklogPage:
        with self._connected() as connection:
            return records.backlog_of_session(connection, session_id, after_seq, limit)

    def backlog_of_flow(self, flow_seq: int, after_seq: int, limit: int) -> BacklogPage:
        with self._connected() as connection:
            return records.backlog_of_flow(connection, flow_seq, after_seq, limit)

    def runs_by_id(self, run_ids: Sequence[bytes]) -> list[StoredRun]:
        with self._connected() as connection:
            return records.runs_by_id(connection, run_ids)

    def heads_by_id(self, run_ids: Sequence[bytes]) -> list[RunHead]:
        with self._connected() as connection:
            return records.heads_by_id(connection, run_ids)

    def heads_by_seq(self, seqs: Sequence[int]) -> list[RunHead]:
        with self._connected() as connection:
            return records.heads_by_seq(connection, seqs)

    def ends_by_id(self, run_ids: Sequence[bytes]) -> list[RunEnd]:
        with self._connected() as connection:
            return records.ends_by_id(connection, run_ids)

    def states_by_id(self, run_ids: Sequence[bytes]) -> dict[bytes, int]:
        with self._connected() as connection:
            return records.states_by_id(connection, run_ids)

    def payloads(self, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
        with self._connected() as connection:
            return records.payloads(connection, seqs, run_ids)

    def _connect(self) -> Connection:
        """Return the connection, a new one when there is none."""
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Hand out the connection inside a transaction that commits at the end."""
        with self._translated():
            connection = self._connect()
            with connection.begin():
                yield connection

    @abstractmethod
    def _owning(self) -> AbstractContextManager[Connection]:
        """Hand out the connection in a transaction that has checked the generation, and commit at the end."""

    def _looked_up(self, connection: Connection, batch: WriteBatch, inserted: int) -> CommitResult:
        """Answer a batch, given how many of its new runs are known to have been new."""
        if batch.reopened:
            ownership.lower(connection, [int(str(row[-1])) for row in batch.reopened])
        runs = records.ends_by_id(connection, batch.lookup_runs) if batch.lookup_runs else []
        keys = batch.lookup_keys
        cached = records.cached_results(connection, keys, batch.now_us) if keys else []
        all_new = inserted == len(batch.new_runs)
        return CommitResult(runs, cached, [] if all_new else records.ids_taken(connection, batch.new_runs))

    def _committed(self, batch: WriteBatch) -> None:
        self._number = batch.number
        if batch.low_seq is not None:
            self._low_seq = batch.low_seq
