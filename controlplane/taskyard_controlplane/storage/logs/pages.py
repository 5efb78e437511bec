"""Pages of logs: what runs have logged, and between it what the control plane says of them.

The former is in the log store, the latter in the database, with the states it is about; so is all that
earlier releases have recorded. Both are numbered as one, and read as one.
"""

from typing import Any

from sqlalchemy import Connection, Select, func, select, union_all

from taskyard_contract.wire_text import LOG_LIMIT, NAME_LIMIT, bounded
from taskyard_controlplane.storage import listings
from taskyard_controlplane.storage.engine import Target
from taskyard_controlplane.storage.interface import LogRow, StoredLog
from taskyard_controlplane.storage.logs.log_files import log_files
from taskyard_controlplane.storage.logs.reading import WIDTH, FileLogReader, LogReader, Page, TableLogReader
from taskyard_controlplane.storage.schema import run, run_log, template


class LogPages:
    """Reads pages; any thread may."""

    def __init__(self, target: Target) -> None:
        """Read the logs of a database."""
        of_postgres = target.dialect == "postgresql"
        self._reader: LogReader = TableLogReader() if of_postgres else FileLogReader(log_files(target))

    def page(
        self, connection: Connection, run_seq: int, after_id: int, limit: int, max_bytes: int, up_to_id: int
    ) -> list[StoredLog]:
        """Return the next records of a run; the protocol says more (`Reader.logs`)."""
        since_us = connection.execute(select(run.c.submitted_us).where(run.c.seq == run_seq)).scalar()
        if since_us is None:
            return []
        page = Page(run_seq, after_id, up_to_id, limit, max_bytes, since_us)
        lines = [LogRow._make(row) for row in connection.execute(_lines(_line_ids(connection, page)))]
        both = sorted([*lines, *self._reader.records(connection, page)], key=lambda row: row.log_id)
        rows = _fitting(both[:limit], max_bytes)
        runs = _runs_of(connection, {row.run_seq for row in rows})
        return [_stored(row, *runs[row.run_seq]) for row in rows if row.run_seq in runs]

    def removed_before_us(self, connection: Connection) -> int:
        """Return up to when records were removed; 0 when none was."""
        return self._reader.removed_before_us(connection)


def _line_ids(connection: Connection, page: Page) -> list[int]:
    """Read two indexes up to the limit each, rather than one of them whole; of texts only the lengths."""
    pages = [
        select(run_log.c.log_id)
        .where(column == page.seq, run_log.c.log_id > page.after, run_log.c.log_id <= page.up_to)
        .order_by(run_log.c.log_id)
        .limit(page.limit)
        .subquery()
        for column in (run_log.c.run_seq, run_log.c.flow_seq)
    ]
    ids = union_all(*(select(page.c.log_id) for page in pages))
    query = select(run_log.c.log_id, func.length(run_log.c.message)).where(run_log.c.log_id.in_(ids))
    found, total = list[int](), 0
    for log_id, size in connection.execute(query.order_by(run_log.c.log_id).limit(page.limit)):
        if total < page.max_bytes:
            found.append(log_id)
        total += min(size, LOG_LIMIT) + WIDTH
    return found


def _lines(ids: list[int]) -> Select[Any]:
    columns = {name: run_log.c[name] for name in LogRow._fields}
    columns["logger"] = func.substr(run_log.c.logger, 1, NAME_LIMIT)  # type: ignore[assignment]
    columns["message"] = func.substr(run_log.c.message, 1, LOG_LIMIT + 1)  # type: ignore[assignment]
    return select(*columns.values()).where(run_log.c.log_id.in_(ids)).order_by(run_log.c.log_id)


def _fitting(rows: list[LogRow], max_bytes: int) -> list[LogRow]:
    """Return the first rows that have so many bytes together; at least one, if there are any."""
    total = 0
    for count, row in enumerate(rows, start=1):
        total += len(row.message) + WIDTH
        if total >= max_bytes:
            return rows[:count]
    return rows


def _runs_of(connection: Connection, seqs: set[int]) -> dict[int, tuple[bytes, str]]:
    """Return the ids and names of some runs."""
    query = (
        select(run.c.seq, run.c.run_id, listings.NAME)
        .join(template, template.c.template_id == run.c.template_id)
        .where(run.c.seq.in_(seqs))
    )
    return {seq: (run_id, name) for seq, run_id, name in connection.execute(query)}


def _stored(row: LogRow, run_id: bytes, name: str) -> StoredLog:
    """Cut the texts of records that were written before they were cut on their way in."""
    return StoredLog(
        row.log_id,
        run_id,
        row.at_us,
        row.level,
        bounded(row.logger, NAME_LIMIT),
        bounded(row.message, LOG_LIMIT),
        bounded(name, NAME_LIMIT),
    )
