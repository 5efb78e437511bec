"""Reads what runs have logged, page by page and day by day.

A page goes through the days in order, from the first one on which the run can have logged or the last page
has ended, and stops when it is full. No file is open between two pages, so none is kept from going.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple, Protocol

from sqlalchemy import Connection, text

from taskyard_controlplane.storage.interface import DAY_US, LogRow, day_of
from taskyard_controlplane.storage.logs.log_files import LogFiles

_log = logging.getLogger(__name__)

REMOVED_BEFORE: Final = "SELECT coalesce(max(removed_before_us), 0) FROM log_removal"

WIDTH: Final = 100
"""What a record counts beside its texts, in bytes."""
_COLUMNS: Final = ", ".join(LogRow._fields)
_BUSY_SECONDS: Final = 5.0


_BEYOND: Final = "log_id > :after AND log_id <= :up_to ORDER BY log_id LIMIT :limit"


def _query(columns: str) -> str:
    """Return the query for a page: of two indexes as much as the limit each, not one of them whole."""
    own = f"SELECT {columns} FROM log_record WHERE run_seq = :seq AND {_BEYOND}"
    inside = f"SELECT {columns} FROM log_record WHERE flow_seq = :seq AND run_seq <> :seq AND {_BEYOND}"
    return (
        f"SELECT * FROM ({own}) AS own UNION ALL SELECT * FROM ({inside}) AS inside "
        "ORDER BY log_id LIMIT :limit"
    )


_RECORDS: Final = _query(_COLUMNS)


class Page(NamedTuple):
    """Which records are wanted."""

    seq: int
    """Of the run, or of the flow run they are inside."""
    after: int
    up_to: int
    """The number of the last record that may be shown."""
    limit: int
    max_bytes: int
    since_us: int
    """Before this the run cannot have logged."""

    @property
    def first_day(self) -> int:
        """The day to begin with."""
        return day_of(max(self.after, self.since_us - DAY_US))  # clocks may have been set back


class LogReader(Protocol):
    """Reads records; any thread may."""

    def records(self, connection: Connection, page: Page) -> list[LogRow]:
        """Return the next records of a run in order, with a connection to the database at hand."""
        ...

    def removed_before_us(self, connection: Connection) -> int:
        """Return up to when records were removed; 0 when none was."""
        ...


class FileLogReader:
    """Reads files of days."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files

    def records(self, connection: Connection, page: Page) -> list[LogRow]:
        found: list[LogRow] = []
        size = 0
        for record in self._all(page):
            found.append(record)
            size += len(record.message) + WIDTH
            if len(found) >= page.limit or size >= page.max_bytes:
                break
        return found

    def _all(self, page: Page) -> Iterator[LogRow]:
        for day in self._files.days():
            if day >= page.first_day or self._files.in_memory:
                yield from self._of_day(day, page)

    def _of_day(self, day: int, page: Page) -> Iterator[LogRow]:
        wanted = {"seq": page.seq, "after": page.after, "up_to": page.up_to, "limit": page.limit}
        try:
            with closing(sqlite3.connect(self._files.uri(day, write=False), uri=True)) as connection:
                connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
                yield from map(LogRow._make, connection.execute(_RECORDS, wanted))
        except sqlite3.OperationalError as error:
            if not self._is_none(day, error):
                raise
        except sqlite3.DatabaseError as error:
            _log.warning("a day of logs is damaged, readers pass it over: %s", error)

    def _is_none(self, day: int, error: sqlite3.OperationalError) -> bool:
        """Whether there is nothing to be read, because a day was removed meanwhile or has no table yet."""
        return "no such table" in str(error) or day not in self._files.days()

    def removed_before_us(self, connection: Connection) -> int:
        return self._files.removed_before_us()


class TableLogReader:
    """Reads the partitions of PostgreSQL."""

    _sizes: Final = text(_query("log_id, octet_length(message) AS size"))
    _records: Final = text(_RECORDS)

    def records(self, connection: Connection, page: Page) -> list[LogRow]:
        wanted = {
            "seq": page.seq,
            "after": max(page.after, page.first_day * DAY_US - 1),
            "up_to": page.up_to,
            "limit": page.limit,
        }
        count = size = last = 0
        for last, length in connection.execute(self._sizes, wanted).all():  # noqa: B007  # used below
            count += 1
            size += length + WIDTH
            if size >= page.max_bytes:
                break
        if not count:
            return []
        wanted.update(up_to=last, limit=count)
        return [LogRow._make(row) for row in connection.execute(self._records, wanted)]

    def removed_before_us(self, connection: Connection) -> int:
        return int(connection.execute(text(REMOVED_BEFORE)).scalar() or 0)
