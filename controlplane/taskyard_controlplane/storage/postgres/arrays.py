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

from taskyard_controlplane.storage.schema import metadata

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

    def run(self, connection: Connection, rows: Rows) -> Cursor:
        """Send it for one row or more; returns the cursor that will know how many it changed."""
        columns = zip(*rows, strict=True)
        arrays = [encode(column) for encode, column in zip(self._encoders, columns, strict=True)]
        return connection.execute(self._sql, arrays)


class CopyStatement:
    """Insertion through COPY, in the binary format: no row may exist, one that does fails the transaction."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        """Name the table and what a row holds, in order."""
        self._types = [_type_of(metadata.tables[table].c[name]) for name in columns]
        self._sql = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"

    def run(self, connection: Connection, rows: Rows) -> None:
        """Send it; returns when the database has taken all rows in."""
        with connection.cursor() as cursor, cursor.copy(self._sql) as copy:
            copy.set_types(self._types)
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
