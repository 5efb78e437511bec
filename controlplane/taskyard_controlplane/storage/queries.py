"""Listings for everybody who is not the owner.

Invariant: its connections cannot write, and no connection is held between two calls, nor between two parts
of a blob: a reader that lingers would keep SQLite's log from being reused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from sqlalchemy import Connection, Engine, select

from taskyard_controlplane.storage import blobs, listings, records
from taskyard_controlplane.storage.cache_listing import StoredCacheEntries
from taskyard_controlplane.storage.documents import StoredDocuments
from taskyard_controlplane.storage.engine import Target, reader_engine
from taskyard_controlplane.storage.faults import translate
from taskyard_controlplane.storage.interface import (
    LAST_LOG,
    MOST_LOOKED_AT,
    CacheReader,
    CalledRun,
    DocumentReader,
    EndedCounts,
    EventRow,
    ListedRun,
    OpenRuns,
    RunFilter,
    RunPage,
    RunSums,
    StoredLog,
    StoredPayloads,
)
from taskyard_controlplane.storage.logs.pages import LogPages
from taskyard_controlplane.storage.schema import run, shard_owner
from taskyard_controlplane.storage.template_catalogue import TemplateCatalogue


class DatabaseReader:
    """`Reader` on either database; the protocol says what its methods promise."""

    def __init__(self, target: Target) -> None:
        """Name the database; connections are made when they are needed."""
        self._target = target
        self._engine: Engine = reader_engine(target)
        self._catalogue = TemplateCatalogue()
        self._logs = LogPages(target)
        self.documents: DocumentReader = StoredDocuments(self._connection)
        self.cache: CacheReader = StoredCacheEntries(self._connection)

    def run(self, run_id: bytes) -> ListedRun | None:
        with self._connection() as connection:
            row = connection.execute(listings.LISTED.where(run.c.run_id == run_id)).one_or_none()
        return None if row is None else listings.listed(row)

    def learn_templates(self) -> bool:
        with self._connection() as connection:
            return self._catalogue.learn(connection)

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
        with self._connection() as connection:
            templates = self._catalogue.fitting(connection, wanted)
            return listings.find_runs(
                connection, wanted, templates, beyond_seq, limit, most, oldest_first=oldest_first, whole=whole
            )

    def ended_counts(self, wanted: RunFilter, most: int = MOST_LOOKED_AT) -> EndedCounts:
        with self._connection() as connection:
            templates = self._catalogue.fitting(connection, wanted)
            return listings.count_ended(connection, wanted, templates, most)

    def open_runs(
        self, wanted: RunFilter, beyond_seq: int | None, limit: int, most: int = MOST_LOOKED_AT
    ) -> OpenRuns:
        with self._connection() as connection:
            templates = self._catalogue.fitting(connection, wanted)
            return listings.open_runs(connection, wanted, templates, beyond_seq, limit, most)

    def sums(self, flow_seq: int, beyond_seq: int | None, most: int, *, details: bool) -> RunSums:
        with self._connection() as connection:
            return listings.sum_up(connection, flow_seq, beyond_seq, most, details=details)

    def calls(self, flow_seq: int, beyond_seq: int, limit: int) -> list[CalledRun]:
        with self._connection() as connection:
            return listings.calls(connection, flow_seq, beyond_seq, limit)

    def last_events(self, run_seqs: Sequence[int]) -> dict[int, EventRow]:
        with self._connection() as connection:
            return {event.run_seq: event for event in records.events_of(connection, run_seqs)}

    def events(self, run_seq: int) -> list[EventRow]:
        with self._connection() as connection:
            return records.events_of(connection, [run_seq])

    def logs(
        self, run_seq: int, after_id: int, limit: int, max_bytes: int, up_to_id: int = LAST_LOG
    ) -> list[StoredLog]:
        with self._connection() as connection:
            return self._logs.page(connection, run_seq, after_id, limit, max_bytes, up_to_id)

    def logs_removed_before_us(self) -> int:
        with self._connection() as connection:
            return self._logs.removed_before_us(connection)

    def database_id(self) -> str:
        with self._connection() as connection:
            found = connection.execute(select(shard_owner.c.database_id)).scalar()
        return found or ""

    def missing_blobs(self, digests: Sequence[bytes]) -> list[bytes]:
        with self._connection() as connection:
            return blobs.missing_blobs(connection, digests)

    def payloads(self, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
        with self._connection() as connection:
            return records.payloads(connection, seqs, run_ids)

    def blob_size(self, digest: bytes) -> int | None:
        with self._connection() as connection:
            return blobs.blob_size(connection, digest)

    def blob_parts(self, digest: bytes, offset: int = 0) -> Iterator[bytes]:
        """Iterate over a blob's parts from a byte on, at most 1 MiB each; nothing when it is not stored."""
        first, skipped = divmod(offset, blobs.PART_SIZE)
        for part in islice(blobs.part_numbers(self.blob_size(digest) or 0), first, None):
            with self._connection() as connection:
                data = blobs.blob_part_data(connection, digest, part)
            if data is None:
                return
            if len(data) > skipped:
                yield data[skipped:]
            skipped = 0

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except Exception as error:
            known = translate(error, self._target)
            if known is None:
                raise
            raise known from error
