"""Statements that write many rows at once on SQLite.

One statement carries up to 128 rows, because sqlite3 lets go of the interpreter lock once per statement and
may then wait for it: with a statement per row that wait would be paid per row. Batches are cut into powers
of two, so that a handful of statement texts serves every size and each is prepared once.

Invariant: a statement never has more than 128 rows of at most 15 values, far below SQLite's limit of 32,766.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

Rows = Sequence[Sequence[Any]]

# Measured: 128 rows a statement cost 1.9 us a row to insert, executemany 2.9; more rows win nothing, and the
# text of a statement and its bound values grow with them.
_MOST_ROWS: Final = 128


class RowsStatement:
    """A statement over rows, `{rows}` in its text standing for the list of them."""

    def __init__(self, sql: str, width: int, single: str = "") -> None:
        """Name the text and how many values a row has.

        Args:
            sql: The text.
            width: How many values a row has.
            single: A cheaper text for one row, its values in the same order.
        """
        self._sql = sql
        self._row = "(" + ", ".join("?" * width) + ")"
        self._texts: dict[int, str] = {1: single} if single else {}

    def run(self, driver: Any, rows: Rows) -> int:
        """Execute it for all rows on the driver's connection, and return how many rows it changed.

        SQLAlchemy's share of a statement would be more than SQLite's.
        """
        changed = 0
        for size, part in _parts(rows):
            text = self._texts.get(size) or self._text(size)
            changed += driver.execute(text, tuple(chain.from_iterable(part))).rowcount
        return changed

    def _text(self, size: int) -> str:
        text = self._texts[size] = self._sql.format(rows=", ".join([self._row] * size))
        return text


def _parts(rows: Rows) -> Iterator[tuple[int, Rows]]:
    start, left, size = 0, len(rows), _MOST_ROWS
    while left:
        while size > left:
            size >>= 1
        yield size, rows[start : start + size]
        start += size
        left -= size
