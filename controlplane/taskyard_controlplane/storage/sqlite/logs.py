"""The log store on SQLite: one writing connection, on the file of the day that records come in.

An append is a transaction without a sync: what is in the file's write-ahead log is the system's, and no end
of a process takes it back. The log is synced and copied by checkpoints, which nobody waits for. When a day is
over its file is written back whole and closed; from then on it is one file that nobody writes, so going away
is one unlink.

Invariant: a file is written by its own day's writer only, and never by two connections at once.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Final

from taskyard_contract.errors import StorageUnavailable, TaskyardError
from taskyard_controlplane.storage.engine import BEGIN, Target
from taskyard_controlplane.storage.faults import translate
from taskyard_controlplane.storage.interface import LogDay, LogPosition, LogRow, LogTuple, day_of
from taskyard_controlplane.storage.logs.log_files import LogFiles
from taskyard_controlplane.storage.sqlite.statements import RowsStatement

_log = logging.getLogger(__name__)

BUSY_SECONDS: Final = 0.5
"""For how long another program, a backup say, may hold the file: the event loop may be waiting."""
UPKEEP_BYTES: Final = 8 * 1024 * 1024
"""Appended since the last checkpoint; the write-ahead log stays near this size."""
_RECORD_BYTES: Final = 100
"""Of a record, with its entries in indexes, beside its text."""
_message_of: Final = itemgetter(LogRow._fields.index("message"))
_MARK_DAYS: Final = 2
"""Who comes back later than after a day has nothing to repeat."""
_PRAGMAS: Final = (
    "page_size = 4096", "journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0",
    "cache_size = -4096", "temp_store = MEMORY",
)  # fmt: skip
_MEMORY_PRAGMAS: Final = ("journal_mode = MEMORY", "temp_store = MEMORY")
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS log_record (log_id INTEGER PRIMARY KEY, run_seq INTEGER NOT NULL, "
    "flow_seq INTEGER, at_us INTEGER NOT NULL, level INTEGER NOT NULL, logger TEXT NOT NULL, "
    "message TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS ix_log_record_run_seq ON log_record (run_seq)",
    "CREATE INDEX IF NOT EXISTS ix_log_record_flow_seq ON log_record (flow_seq) WHERE flow_seq IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS log_mark (session_id BLOB PRIMARY KEY, number INTEGER NOT NULL) "
    "WITHOUT ROWID",
)
# A record is the same under the same number, so one that is repeated changes nothing.
_INSERT: Final = RowsStatement(
    "INSERT INTO log_record (run_seq, flow_seq, at_us, level, logger, message, log_id) VALUES {rows} "
    "ON CONFLICT DO NOTHING",
    len(LogRow._fields),
)
_MARK: Final = (
    "INSERT INTO log_mark (session_id, number) VALUES (?, ?) "
    "ON CONFLICT (session_id) DO UPDATE SET number = max(number, excluded.number)"
)
_LAST: Final = "SELECT max(log_id), (SELECT max(run_seq) FROM log_record) FROM log_record"


class SqliteLogStore:
    """`LogStore` on a folder of files, or in memory for tests."""

    def __init__(self, files: LogFiles, target: Target) -> None:
        """Write into `files`, beside the database `target`; nothing is opened yet."""
        self._files = files
        self._target = target
        self._connection: sqlite3.Connection | None = None
        self._day = -1
        """Which day the connection is for."""
        self._today = 0
        """The last day that anybody has spoken of; it stays."""
        self._over: list[sqlite3.Connection] = []
        """Connections of days that are over, to be closed by the next upkeep."""
        self._appended = 0
        self.upkeep_due = False

    @property
    def appends_are_fast(self) -> bool:
        """Not the first one, which makes a file."""
        return self._connection is not None

    def open(self, generation: int, now_us: int) -> LogPosition:
        self._today = day_of(now_us)
        if self._files.in_memory:
            with self._translated():
                self._of_day(self._today)
        last_id = last_seq = 0
        marks: dict[bytes, int] = {}
        days = self._files.days()
        for day in days:
            try:
                with self._translated(), closing(self._connect(day)) as connection:
                    found = connection.execute(_LAST).fetchone()
                    last_id, last_seq = max(last_id, found[0] or 0), max(last_seq, found[1] or 0)
                    if day in days[-_MARK_DAYS:]:
                        for session_id, number in connection.execute("SELECT * FROM log_mark"):
                            marks[session_id] = max(number, marks.get(session_id, 0))
                    left_open = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
                if left_open and day < self._today:  # by a process that was killed
                    _write_back(self._connect(day, write=True))
            except TaskyardError as error:
                _log.warning("a day of logs cannot be read, it is passed over: %s", error)
        return LogPosition(last_id, last_seq, marks)

    def append(self, rows: Sequence[LogTuple], marks: Mapping[bytes, int], now_us: int) -> None:
        self._today = max(self._today, day_of(now_us))
        parts: list[tuple[int, Sequence[LogTuple]]] = []
        if rows and day_of(rows[0][-1]) == day_of(rows[-1][-1]):
            parts.append((day_of(rows[0][-1]), rows))
        else:
            parts += [(day, list(part)) for day, part in groupby(rows, lambda row: day_of(row[-1]))]
        # Marks go with the last part: until they are stored, everything is sent again.
        last_day, last = parts.pop() if parts else (max(day_of(now_us), self._day), [])
        with self._translated():
            for day, part in parts:
                self._append_to(self._of_day(day), part, {})
            self._append_to(self._of_day(last_day), last, marks)

    def _append_to(
        self, connection: sqlite3.Connection, rows: Sequence[LogTuple], marks: Mapping[bytes, int]
    ) -> None:
        connection.execute(BEGIN)
        try:
            _INSERT.run(connection, rows)
            for mark in marks.items():
                connection.execute(_MARK, mark)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._appended += len(rows) * _RECORD_BYTES + sum(map(len, map(_message_of, rows)))
        self.upkeep_due = self._appended >= UPKEEP_BYTES

    def maintain(self, now_us: int) -> None:
        """Copy what was appended into the file, and close the files of days that are over."""
        self._today = max(self._today, day_of(now_us))
        if self._connection is not None and self._day < self._today and not self._files.in_memory:
            self._leave()
        for connection in self._over:
            _write_back(connection)
        self._over.clear()
        if self._appended and self._connection is not None and not self._files.in_memory:
            with self._translated():
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._appended, self.upkeep_due = 0, False

    def remove_before(self, time_us: int) -> list[LogDay]:
        with self._translated():
            return self._files.remove(min(day_of(time_us), self._today))

    def usage(self) -> list[LogDay]:
        with self._translated():
            return self._files.usage()

    def close(self) -> None:
        if self._connection is not None:
            if self._files.in_memory:
                self._connection.close()
                self._connection = None
            else:
                self._leave()
        for connection in self._over:
            _write_back(connection)
        self._over.clear()

    def _leave(self) -> None:
        if self._connection is not None:
            self._over.append(self._connection)
            self._connection = None

    def _of_day(self, day: int) -> sqlite3.Connection:
        """Return the connection for a day's file, which is made if need be."""
        if self._connection is None or (day != self._day and not self._files.in_memory):
            self._leave()
            connection = self._connect(day, write=True)
            try:
                for pragma in _MEMORY_PRAGMAS if self._files.in_memory else _PRAGMAS:
                    connection.execute(f"PRAGMA {pragma}").fetchall()
                for statement in _TABLES:
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
            self._connection, self._appended = connection, 0
        self._day = day
        return self._connection

    def _connect(self, day: int, *, write: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(
            self._files.uri(day, write=write),
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of SQLite and of the file system into ours; the next call opens the file anew."""
        try:
            yield
        except OSError as error:
            raise StorageUnavailable(f"the logs cannot be stored: {error}", retry_after=1.0) from error
        except sqlite3.Error as error:
            known = translate(error, self._target)
            if known is None:
                raise
            self._leave()
            raise known from error


def _write_back(connection: sqlite3.Connection) -> None:
    """Close a connection, and leave its file without anything beside it if nobody reads it just now."""
    with closing(connection):
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        except sqlite3.Error as error:
            _log.info("a day of logs was not written back whole: %s", error)
