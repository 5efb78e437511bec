"""Writes a batch on SQLite, inside the transaction its caller has begun.

Every kind of row that `WRITES` declares becomes one prepared statement here, when the module is loaded.
"""

from operator import itemgetter
from typing import Any, Final, Protocol

from sqlalchemy import Connection

from taskyard_controlplane.storage.blobs import store_blob
from taskyard_controlplane.storage.clauses import HAS_ENDED, STILL_OPEN, by_keys, names, on_conflict, removal
from taskyard_controlplane.storage.engine import raw
from taskyard_controlplane.storage.interface import WriteBatch
from taskyard_controlplane.storage.interface.tables import NEW_RUNS, WRITES, Rule, Write
from taskyard_controlplane.storage.sqlite.statements import Rows, RowsStatement

_DISPATCHED: Final = "DELETE FROM dispatch WHERE number < ?"


class Statement(Protocol):
    """Something that writes rows of one kind."""

    def run(self, driver: Any, rows: Rows) -> int:
        """Write rows on the driver's connection, and return how many were changed."""
        ...


class MostlyNarrow:
    """Inserts without the columns that are rarely set, as long as no row of a batch sets one."""

    def __init__(self, write: Write) -> None:
        columns = write.columns
        usual = tuple(name for name in columns if name not in write.rarely_set)
        self._whole = _insertion(write)
        self._narrow = RowsStatement(
            f"INSERT INTO {write.table} ({', '.join(usual)}) VALUES {{rows}}{on_conflict(write)}", len(usual)
        )
        self._rare_values = itemgetter(*map(columns.index, write.rarely_set))
        self._usual_values = itemgetter(*map(columns.index, usual))
        self._none_set = (None,) * len(write.rarely_set)

    def run(self, driver: Any, rows: Rows) -> int:
        """Write rows on the driver's connection, and return how many were changed."""
        if all(map(self._none_set.__eq__, map(self._rare_values, rows))):
            return self._narrow.run(driver, list(map(self._usual_values, rows)))
        return self._whole.run(driver, rows)


class OneByOne:
    """Deletes row by row: these are a few a second, most of them for a whole range."""

    def __init__(self, write: Write) -> None:
        self._sql = removal(write, "?")

    def run(self, driver: Any, rows: Rows) -> int:
        """Write rows on the driver's connection, and return how many were changed."""
        return sum(driver.execute(self._sql, row).rowcount for row in rows)


def _insertion(write: Write) -> RowsStatement:
    sql = f"INSERT INTO {write.table} ({names(write)}) VALUES {{rows}}{on_conflict(write)}"
    return RowsStatement(sql, len(write.columns))


def _update(write: Write) -> RowsStatement:
    changed = [name for name in write.columns if name != write.key]
    # SQLite names the columns of VALUES itself: column1, column2 and so on.
    place = {name: f"v.column{number}" for number, name in enumerate(write.columns, 1)}
    which = STILL_OPEN if write.rule is Rule.CHANGE_OPEN else HAS_ENDED
    return RowsStatement(
        f"UPDATE {write.table} SET {', '.join(f'{name} = {place[name]}' for name in changed)}"
        f" FROM (VALUES {{rows}}) AS v WHERE {write.table}.{write.key} = {place[write.key]} AND {which}",
        len(write.columns),
        # The key comes last in a row, as this text wants it.
        f"UPDATE {write.table} SET {', '.join(f'{name} = ?' for name in changed)}"
        f" WHERE {write.key} = ? AND {which}",
    )


def statement_of(write: Write) -> Statement:
    """Make the statement that writes one kind of row."""
    if write.rule in (Rule.CHANGE_OPEN, Rule.CHANGE_ENDED):
        return _update(write)
    if write.rule in (Rule.REMOVE, Rule.COPY_BAD_END):
        return RowsStatement(by_keys(write, f"{write.key} IN (VALUES {{rows}})"), len(write.columns))
    if write.rule in (Rule.REMOVE_UP_TO, Rule.REMOVE_SAME):
        return OneByOne(write)
    return MostlyNarrow(write) if write.rarely_set else _insertion(write)


_STATEMENTS: Final = tuple(map(statement_of, WRITES))


def write_batch(connection: Connection, batch: WriteBatch) -> int:
    """Write everything in a batch and return how many of its new runs were new."""
    driver = raw(connection)
    for digest, data in batch.blobs:
        store_blob(connection, digest, data)
    changed = [
        statement.run(driver, rows) if rows else 0
        for statement, rows in zip(_STATEMENTS, batch.lists(), strict=True)
    ]
    if batch.dispatched_below is not None:
        driver.execute(_DISPATCHED, (batch.dispatched_below,))
    return changed[NEW_RUNS]
