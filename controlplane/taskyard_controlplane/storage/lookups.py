"""Queries for the rows under a list of keys, as texts that the driver gets as they are.

Look-ups come by the hundred thousand: a run that depends on many others asks for each of them. SQLAlchemy's
share of a list of keys is five sixths (15 of 18 us a key on SQLite), so it writes each text once, and is left
out when it is used.

Invariant: no statement has more than `MOST_KEYS` keys, however many are asked for; both databases take far
more, their planners do not.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, Dialect, Select, text

MOST_KEYS: Final = 512
_PLACE: Final = "{keys}"
_LITERALS: Final = {"literal_binds": True}


class Lookup:
    """One query, with its texts."""

    def __init__(self, query: Select[Any], key: Column[Any]) -> None:
        """Ask `query` for the rows whose `key` is one of a list."""
        self._query = query.where(text(f"{key} {_PLACE}"))
        self._texts: dict[tuple[str, int], str] = {}

    def rows(self, connection: Connection, keys: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows under some keys, in no order, as the driver returns them."""
        lists = connection.dialect.name == "sqlite"
        for start in range(0, len(keys), MOST_KEYS):
            part = list(keys[start : start + MOST_KEYS])
            # A handful of texts for every number of keys, so that each is prepared once.
            size = 1 << (len(part) - 1).bit_length() if lists else 1
            bound = (*part, *part[-1:] * (size - len(part))) if lists else (part,)
            statement = self._texts.get((connection.dialect.name, size))
            if statement is None:
                statement = self._text(connection.dialect, size)
            yield from connection.exec_driver_sql(statement, bound).cursor.fetchall()

    def _text(self, dialect: Dialect, size: int) -> str:
        place = f"IN ({', '.join('?' * size)})" if dialect.name == "sqlite" else "= ANY(%s)"
        compiled = str(self._query.compile(dialect=dialect, compile_kwargs=_LITERALS))
        written = self._texts[dialect.name, size] = compiled.replace(_PLACE, place)
        return written
