"""Carries many rows to PostgreSQL in one statement.

Each column travels as one array in PostgreSQL's own text form, which is several times cheaper to make than
letting the driver adapt lists. Large insertions of runs go through COPY, which is cheaper still for the
server but knows no ON CONFLICT.

Invariant: whatever text users wrote can be stored; the one character PostgreSQL refuses, NUL, is replaced.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import Column
from sqlalchemy.dialects import postgresql

from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.storage.interface import (
    CacheRow,
    DispatchRow,
    EndedRow,
    EventRow,
    LogRow,
    NewRunRow,
)
from taskyard_controlplane.storage.schema import metadata
from taskyard_controlplane.storage.templates import COLUMNS as TEMPLATE_COLUMNS

Rows = Sequence[Sequence[Any]]
Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


class ArraysStatement:
    """A statement whose parameters are the columns of many rows."""

    def __init__(self, sql: str, table: str, columns: Sequence[str]) -> None:
        """Name the text and what a row holds.

        Args:
            sql: The text; `{arrays}` in it stands for the parameters.
            table: The table that has the columns.
            columns: What a row holds, in order.
        """
        types = [_type_of(metadata.tables[table].c[name]) for name in columns]
        self._encoders = [_ENCODERS.get(name, _numbers) for name in types]
        self._sql = sql.format(arrays=", ".join(f"%s::{name}[]" for name in types))

    def run(self, connection: Connection, rows: Rows) -> Cursor | None:
        """Send it; returns the cursor that will know how many rows it changed, None for no rows."""
        if not rows:
            return None
        columns = zip(*rows, strict=True)
        arrays = [encode(column) for encode, column in zip(self._encoders, columns, strict=True)]
        return connection.execute(self._sql, arrays)


def copy_runs(connection: Connection, rows: Rows) -> None:
    """Insert new runs, none of which may exist: one that does fails the transaction."""
    with connection.cursor() as cursor, cursor.copy(_COPY_RUNS) as copy:
        copy.set_types(_RUN_TYPES)
        for row in rows:
            copy.write_row(row)


def _type_of(column: Column[Any]) -> str:
    return column.type.compile(_DIALECT).lower()


def _numbers(column: Iterable[int | None]) -> str:
    text = str(list(column))
    if "<" in text:  # a member of an enum, which a list does not show as its number
        text = str([None if item is None else int(item) for item in column])
    return "{" + text[1:-1].replace("None", "NULL") + "}"


def _bytes(column: Iterable[bytes | None]) -> str:
    return "{" + ",".join(["NULL" if item is None else f'"\\\\x{item.hex()}"' for item in column]) + "}"


def _texts(column: Iterable[str | None]) -> str:
    quoted = [
        "NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for item in column
    ]
    return "{" + ",".join(quoted).replace("\x00", "\ufffd") + "}"


_ENCODERS: Final[dict[str, Callable[[Iterable[Any]], str]]] = {"bytea": _bytes, "text": _texts}


def _insert(table: str, columns: Sequence[str], conflict: str = "") -> ArraysStatement:
    names = ", ".join(columns)
    sql = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({{arrays}}) {conflict}".rstrip()
    return ArraysStatement(sql, table, columns)


_RUN_TYPES: Final = [_type_of(metadata.tables["run"].c[name]) for name in NewRunRow._fields]
_COPY_RUNS: Final = f"COPY run ({', '.join(NewRunRow._fields)}) FROM STDIN (FORMAT binary)"

TEMPLATES: Final = _insert("template", TEMPLATE_COLUMNS, "ON CONFLICT (template_id) DO NOTHING")
RUNS: Final = _insert("run", NewRunRow._fields, "ON CONFLICT (run_id) DO NOTHING")
ENDED: Final = ArraysStatement(
    "UPDATE run SET "
    + ", ".join(f"{name} = v.{name}" for name in EndedRow._fields[:-1])
    + f" FROM unnest({{arrays}}) AS v({', '.join(EndedRow._fields)})"
    + f" WHERE run.seq = v.seq AND run.state < {FIRST_FINAL}",
    "run",
    EndedRow._fields,
)
EVENTS: Final = _insert("run_event", EventRow._fields)
DISPATCHES: Final = _insert("dispatch", DispatchRow._fields)
BACKLOG_ADDED: Final = _insert("backlog", ("queue", "priority", "seq"), "ON CONFLICT (seq) DO NOTHING")
BACKLOG_REMOVED: Final = "DELETE FROM backlog WHERE queue = %s AND priority = %s AND seq <= %s"
CACHE: Final = _insert(
    "cache_entry",
    CacheRow._fields,
    "ON CONFLICT (cache_key) DO UPDATE SET run_seq = excluded.run_seq, expires_us = excluded.expires_us",
)
LOGS: Final = _insert("run_log", LogRow._fields)
