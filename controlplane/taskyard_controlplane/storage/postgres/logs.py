"""The log store on PostgreSQL: a table in partitions, one for each day, on a connection of its own.

Nothing waits for the database's disk: records are durable a moment after they were appended
(`synchronous_commit = off`), which no end of a control plane takes back. A partition is made a day ahead,
beside the table, and then attached, which stands in nobody's way. To let one go takes a lock that everybody
waits behind, so it is given up after a moment, and tried again.

Invariant: who has been replaced as the owner appends nothing any more, but for what was on its way.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import sleep
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.storage.engine import Target, raw
from taskyard_controlplane.storage.faults import Connected
from taskyard_controlplane.storage.interface import (
    DAY_US,
    LogDay,
    LogMarkRow,
    LogPosition,
    LogRow,
    LogTuple,
    day_of,
)
from taskyard_controlplane.storage.ownership import SHARD, fenced
from taskyard_controlplane.storage.postgres.arrays import ArraysStatement

LOCK_TRIES: Final = 5
LOCK_PAUSE_SECONDS: Final = 0.2
"""Between them: as long as others had to wait."""
_SETTINGS: Final = "SET synchronous_commit = off; SET statement_timeout = '5s'; SET lock_timeout = '200ms'"
_OWNED: Final = f"EXISTS (SELECT FROM shard_owner WHERE shard = {SHARD} AND generation = %s)"
_COLUMNS: Final = ", ".join(LogRow._fields)
_INSERT: Final = ArraysStatement(
    f"INSERT INTO log_record ({_COLUMNS}) SELECT * FROM unnest({{arrays}}) ON CONFLICT DO NOTHING",
    "run_log",
    LogRow._fields,
)
_MARK: Final = ArraysStatement(
    f"INSERT INTO log_mark ({', '.join(LogMarkRow._fields)}) SELECT * FROM unnest({{arrays}}) "
    "ON CONFLICT (session_id) DO UPDATE SET number = greatest(log_mark.number, excluded.number), "
    "at_us = excluded.at_us",
    "log_mark",
    LogMarkRow._fields,
)
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS log_record (run_seq bigint NOT NULL, flow_seq bigint, "
    "at_us bigint NOT NULL, level integer NOT NULL, logger text NOT NULL, message text NOT NULL, "
    "log_id bigint NOT NULL, PRIMARY KEY (run_seq, log_id)) PARTITION BY RANGE (log_id)",
    "CREATE INDEX IF NOT EXISTS ix_log_record_flow_seq ON log_record (flow_seq, log_id) "
    "WHERE flow_seq IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS log_removal (removed_before_us bigint NOT NULL)",
)
"""Made when a database is opened, in the transaction that prepares the others."""
_PARTITIONS: Final = (
    "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_inherits i JOIN pg_class c "
    "ON c.oid = i.inhrelid WHERE i.inhparent = 'log_record'::regclass"
)
_NO_PARTITION: Final = psycopg.errors.CheckViolation
_PREFIX: Final = "log_record_"


def prepare_logs(connection: Connection) -> None:
    """Make the tables, inside the transaction the connection is in."""
    for statement in TABLES:
        connection.exec_driver_sql(statement)


class PostgresLogStore(Connected):
    """`LogStore` on PostgreSQL."""

    appends_are_fast = False
    upkeep_due = False

    def __init__(self, target: Target, wait: Callable[[float], None] = sleep) -> None:
        """Name the database; `wait` is how to wait before a lock is tried again."""
        super().__init__(target)
        self._wait = wait
        self._generation = 0
        self._today = 0
        """The last day that anybody has spoken of; it stays."""
        self._ready: set[int] = set()
        """Days whose partitions are there."""

    def open(self, generation: int, now_us: int) -> LogPosition:
        self._generation = generation
        self.maintain(now_us)
        with self._translated():
            driver = self._driver()
            last = driver.execute("SELECT max(log_id), max(run_seq) FROM log_record").fetchone()
            marks = dict(driver.execute("SELECT session_id, number FROM log_mark").fetchall())
        return LogPosition(last[0] or 0, last[1] or 0, {bytes(key): number for key, number in marks.items()})

    def append(self, rows: Sequence[LogTuple], marks: Mapping[bytes, int], now_us: int) -> None:
        self._today = max(self._today, day_of(now_us))
        with self._translated():
            for day in {day_of(row[-1]) for row in rows} - self._ready:
                self._make(self._driver(), day)
            self._write(rows, [(session_id, number, now_us) for session_id, number in marks.items()])

    def _write(self, rows: Sequence[LogTuple], marks: list[tuple[bytes, int, int]]) -> None:
        driver = self._driver()
        try:
            driver.execute("BEGIN")
            if not driver.execute(f"SELECT {_OWNED}", (self._generation,)).fetchone()[0]:
                raise fenced(self._generation)
            with driver.pipeline():
                if rows:
                    _INSERT.run(driver, rows)
                if marks:
                    _MARK.run(driver, marks)
                driver.execute("COMMIT")
        except BaseException as error:
            if not driver.closed:
                driver.rollback()
            if isinstance(error, _NO_PARTITION):  # somebody else has dropped it
                self._ready.clear()
                raise StorageUnavailable("a day of logs is missing; repeat", retry_after=0.1) from error
            raise

    def maintain(self, now_us: int) -> None:
        """Make the partitions of today and of tomorrow, if they are not there."""
        self._today = max(self._today, day_of(now_us))
        with self._translated():
            for day in (day_of(now_us), day_of(now_us) + 1):
                if day not in self._ready:
                    self._make(self._driver(), day)

    def _make(self, driver: Any, day: int) -> None:
        name = partition_of(day)
        with driver.transaction():
            driver.execute("SELECT pg_advisory_xact_lock(hashtext('log_record'))")
            if driver.execute("SELECT to_regclass(%s)", (name,)).fetchone()[0] is None:
                driver.execute(f"CREATE TABLE {name} (LIKE log_record INCLUDING ALL)")
                driver.execute(
                    f"ALTER TABLE log_record ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ({day * DAY_US}) TO ({(day + 1) * DAY_US})"
                )
        self._ready.add(day)

    def remove_before(self, time_us: int) -> list[LogDay]:
        removed: list[LogDay] = []
        before_us = min(day_of(time_us), self._today) * DAY_US
        with self._translated(), self._engine.connect() as connection:
            driver = raw(connection)
            driver.execute(_SETTINGS)
            for one in _stored(driver):
                if one.begins_us + DAY_US > before_us:
                    break
                if not self._drop(driver, one):
                    break  # the oldest first, so that what is left has no holes
                removed.append(one)
        return removed

    def _drop(self, driver: Any, day: LogDay) -> bool:
        """Drop a partition; says whether that was possible without anybody waiting for long."""
        for _ in range(LOCK_TRIES):
            try:
                with driver.transaction():
                    driver.execute(f"DROP TABLE {partition_of(day.begins_us // DAY_US)}")
                    driver.execute("DELETE FROM log_removal")
                    driver.execute("INSERT INTO log_removal VALUES (%s)", (day.begins_us + DAY_US,))
                return True
            except psycopg.errors.LockNotAvailable:
                self._wait(LOCK_PAUSE_SECONDS)
        return False

    def usage(self) -> list[LogDay]:
        with self._translated(), self._engine.connect() as connection:
            return _stored(raw(connection))

    def close(self) -> None:
        self._disconnect()
        self._engine.dispose()

    def _driver(self) -> Any:
        if self._connection is None:
            self._connection = self._engine.connect()
            raw(self._connection).execute(_SETTINGS)
        return raw(self._connection)


def partition_of(day: int) -> str:
    """Return the name of the table that holds a day."""
    return _PREFIX + datetime.fromtimestamp(day * DAY_US / 1e6, UTC).strftime("%Y%m%d")


def _stored(driver: Any) -> list[LogDay]:
    """Return the partitions, oldest first."""
    found = []
    for name, size in driver.execute(_PARTITIONS).fetchall():
        begins = datetime.strptime(name.removeprefix(_PREFIX), "%Y%m%d").replace(tzinfo=UTC)
        found.append(LogDay(round(begins.timestamp()) * 1_000_000, size))
    return sorted(found)
