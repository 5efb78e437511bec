"""Writes a batch on PostgreSQL, inside the transaction its caller has begun.

Every kind of row that `WRITES` declares becomes one statement here, when the module is loaded; the driver
prepares each on the server once it has been sent a few times.
"""

from typing import Any, Final, Protocol

from taskyard_controlplane.storage.clauses import HAS_ENDED, STILL_OPEN, by_keys, names, on_conflict, removal
from taskyard_controlplane.storage.interface import WriteBatch
from taskyard_controlplane.storage.interface.tables import NEW_RUNS, WRITES, Rule, Write
from taskyard_controlplane.storage.postgres.arrays import ArraysStatement, CopyStatement, Cursor, Rows

_DISPATCHED: Final = "DELETE FROM dispatch WHERE number < %s"


class Statement(Protocol):
    """Something that writes rows of one kind, one row or more."""

    def run(self, connection: Any, rows: Rows) -> Cursor:
        """Send it; returns the cursor that will know how many rows it changed."""
        ...


class LastOfEachKey:
    """Inserts or changes rows. PostgreSQL refuses two under one key in a statement: only the last is sent."""

    def __init__(self, write: Write) -> None:
        self._key = write.columns.index(write.key)
        self._insertion = _insertion(write)

    def run(self, connection: Any, rows: Rows) -> Cursor:
        """Send it; returns the cursor that will know how many rows it changed."""
        return self._insertion.run(connection, list({row[self._key]: row for row in rows}.values()))


class OneByOne:
    """Deletes row by row: these are a few a second, most of them for a whole range."""

    def __init__(self, write: Write) -> None:
        self._sql = removal(write, "%s")

    def run(self, connection: Any, rows: Rows) -> Cursor:
        """Send it; returns the cursor of the last row."""
        cursors: list[Cursor] = [connection.execute(self._sql, row) for row in rows]
        return cursors[-1]


def _insertion(write: Write) -> ArraysStatement:
    sql = f"INSERT INTO {write.table} ({names(write)}) SELECT * FROM unnest({{arrays}}){on_conflict(write)}"
    return ArraysStatement(sql, write.table, write.columns)


def _update(write: Write) -> ArraysStatement:
    changed = ", ".join(f"{name} = v.{name}" for name in write.columns if name != write.key)
    which = STILL_OPEN if write.rule is Rule.CHANGE_OPEN else HAS_ENDED
    return ArraysStatement(
        f"UPDATE {write.table} SET {changed} FROM unnest({{arrays}}) AS v({names(write)})"
        f" WHERE {write.table}.{write.key} = v.{write.key} AND {which}",
        write.table,
        write.columns,
    )


def statement_of(write: Write) -> Statement:
    """Make the statement that writes one kind of row."""
    if write.rule in (Rule.CHANGE_OPEN, Rule.CHANGE_ENDED):
        return _update(write)
    if write.rule in (Rule.REMOVE, Rule.COPY_BAD_END):
        sql = by_keys(write, f"{write.key} = ANY ({{arrays}})")
        return ArraysStatement(sql, write.table, write.columns)
    if write.rule in (Rule.REMOVE_UP_TO, Rule.REMOVE_SAME):
        return OneByOne(write)
    once = write.rule in (Rule.KEEP, Rule.KEEP_LAST)
    return LastOfEachKey(write) if once else _insertion(write)


_STATEMENTS: Final = tuple(map(statement_of, WRITES))
_COPY_RUNS: Final = CopyStatement(WRITES[NEW_RUNS].table, WRITES[NEW_RUNS].columns)


def copy_runs(driver: Any, batch: WriteBatch) -> None:
    """Insert the new runs of a batch the fastest way, which fails when one of them exists.

    COPY is half as dear for the server as an insertion, but cannot travel in a pipeline.
    """
    _COPY_RUNS.run(driver, batch.new_runs)


def write_rows(driver: Any, batch: WriteBatch, *, copied: bool) -> Cursor | None:
    """Send all rows of a batch without waiting for answers.

    Args:
        driver: The driver's connection, in pipeline mode.
        batch: What to write.
        copied: Whether its new runs are written already.

    Returns:
        The cursor that will know how many of its new runs were new, None if there were none to insert.
    """
    inserting: Cursor | None = None
    for place, (statement, rows) in enumerate(zip(_STATEMENTS, batch.lists(), strict=True)):
        if not rows or (copied and place == NEW_RUNS):
            continue
        cursor = statement.run(driver, rows)
        if place == NEW_RUNS:
            inserting = cursor
    if batch.dispatched_below is not None:
        driver.execute(_DISPATCHED, (batch.dispatched_below,))
    return inserting
