"""Statements over the numbers of some runs, as plain SQL: to make each with SQLAlchemy costs ten times what
the database does.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, CursorResult

_PLACE: Final = "{keys}"


class KeyedStatement:
    """A statement that says `{keys}` once, behind the column that is one of some numbers."""

    def __init__(self, sql: str) -> None:
        """Name the text."""
        self._sql = sql

    def run(self, connection: Connection, keys: Sequence[int]) -> CursorResult[Any]:
        """Execute it, for one number or more; returns its result."""
        if connection.dialect.name != "sqlite":
            return connection.exec_driver_sql(self._sql.replace(_PLACE, "= ANY(%s)"), (list(keys),))
        # A handful of texts for every number of keys, so that each is prepared once.
        size = 1 << (len(keys) - 1).bit_length()
        bound = (*keys, *[keys[-1]] * (size - len(keys)))
        text = self._sql.replace(_PLACE, f"IN ({', '.join('?' * size)})")
        return connection.exec_driver_sql(text, bound)
