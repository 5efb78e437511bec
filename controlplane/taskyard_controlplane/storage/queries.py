"""Listings for everybody who is not the owner.

Invariant: its connections cannot write, and no connection is held between two calls, nor between two parts
of a blob: a reader that lingers would keep SQLite's log from being reused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, func, select, union_all

from taskyard_contract.wire_text import LOG_LIMIT, NAME_LIMIT, bounded
from taskyard_controlplane.storage import blobs, listings, records
from taskyard_controlplane.storage.cache_listing import StoredCacheEntries
from taskyard_controlplane.storage.documents import StoredDocuments
from taskyard_controlplane.storage.engine import Target, reader_engine
from taskyard_controlplane.storage.faults import translate
from taskyard_controlplane.storage.interface import (
    MOST_LOOKED_AT,
    CacheReader,
    DocumentReader,
    EndedCounts,
    EventRow,
    ListedRun,
    OpenRuns,
    RunFilter,
    RunPage,
    RunSums,
    StoredLog,
)
from taskyard_controlplane.storage.schema import run, run_log, shard_owner, template
from taskyard_controlplane.storage.template_catalogue import TemplateCatalogue

_LOG_WIDTH: Final = 100  # of a record beside its texts


class DatabaseReader:
    """`Reader` on either database; the protocol says what its methods promise."""

    def __init__(self, target: Target) -> None:
        """Name the database; connections are made when they are needed."""
        self._target = target
        self._engine: Engine = reader_engine(target)
        self._catalogue = TemplateCatalogue()
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

    def last_events(self, run_seqs: Sequence[int]) -> dict[int, EventRow]:
        with self._connection() as connection:
            return {event.run_seq: event for event in records.events_of(connection, run_seqs)}

    def events(self, run_seq: int) -> list[EventRow]:
        with self._connection() as connection:
            return records.events_of(connection, [run_seq])

    def logs(self, run_seq: int, after_id: int, limit: int, max_bytes: int) -> list[StoredLog]:
        with self._connection() as connection:
            found = connection.execute(_log_sizes(run_seq, after_id, limit)).all()
            ids = _fitting([(log_id, size) for log_id, size in found], max_bytes)
            rows = connection.execute(_logs(ids)).all() if ids else []
        return [_bounded(StoredLog._make(row)) for row in rows]

    def database_id(self) -> str:
        with self._connection() as connection:
            found = connection.execute(select(shard_owner.c.database_id)).scalar()
        return found or ""

    def missing_blobs(self, digests: Sequence[bytes]) -> list[bytes]:
        with self._connection() as connection:
            return blobs.missing_blobs(connection, digests)

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


def _log_sizes(run_seq: int, after_id: int, limit: int) -> Select[Any]:
    """Read two indexes up to the limit each, rather than one of them whole; of texts only the lengths."""
    pages = [
        select(run_log.c.log_id)
        .where(column == run_seq, run_log.c.log_id > after_id)
        .order_by(run_log.c.log_id)
        .limit(limit)
        .subquery()
        for column in (run_log.c.run_seq, run_log.c.flow_seq)
    ]
    ids = union_all(*(select(page.c.log_id) for page in pages))
    return (
        select(run_log.c.log_id, func.length(run_log.c.message))
        .where(run_log.c.log_id.in_(ids))
        .order_by(run_log.c.log_id)
        .limit(limit)
    )


def _fitting(sizes: list[tuple[int, int]], max_bytes: int) -> list[int]:
    """Return the ids of those records that have so many bytes together; at least one, if there are any."""
    total = 0
    for count, (_, size) in enumerate(sizes, start=1):
        total += min(size, LOG_LIMIT) + _LOG_WIDTH
        if total >= max_bytes:
            return [log_id for log_id, _ in sizes[:count]]
    return [log_id for log_id, _ in sizes]


def _logs(ids: list[int]) -> Select[Any]:
    return (
        select(
            run_log.c.log_id,
            run.c.run_id,
            run_log.c.at_us,
            run_log.c.level,
            func.substr(run_log.c.logger, 1, NAME_LIMIT),
            func.substr(run_log.c.message, 1, LOG_LIMIT + 1),  # the rest of a longer one is cut below
            listings.NAME,
        )
        .join(run, run.c.seq == run_log.c.run_seq)
        .join(template, template.c.template_id == run.c.template_id)
        .where(run_log.c.log_id.in_(ids))
        .order_by(run_log.c.log_id)
    )


def _bounded(record: StoredLog) -> StoredLog:
    """Cut the texts of records that were written before they were cut on their way in."""
    return record._replace(
        logger=bounded(record.logger, NAME_LIMIT),
        message=bounded(record.message, LOG_LIMIT),
        run_name=bounded(record.run_name, NAME_LIMIT),
    )
