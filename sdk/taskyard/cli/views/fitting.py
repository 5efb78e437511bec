"""How wide the columns of a table are on a terminal. Pure.

A table that is too wide is made to fit in this order: columns in which nothing stands go, then those that can
be cut are cut down to what is still worth reading, then the less important ones go. What is cut says so with
an ellipsis, and a line is never wrapped.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

from taskyard.cli.views.columns import Column

GAP: Final = 2
"""Blanks between two columns."""
ELLIPSIS: Final = "…"


class Place(NamedTuple):
    """A column that is shown, and how wide."""

    number: int
    width: int


def layout(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[Place]:
    """Return which columns are shown on a terminal of so many cells, and how wide each is."""
    wanted = [
        max(map(cell_len, cells)) for cells in zip([each.heading for each in columns], *rows, strict=True)
    ]
    shown = [number for number in range(len(columns)) if not rows or any(row[number] for row in rows)]
    least = [min(each.least or wanted[number], wanted[number]) for number, each in enumerate(columns)]
    while _total(least, shown) > width:
        droppable = [number for number in shown if columns[number].rank]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda number: columns[number].rank))
    return _widened(shown, least, wanted, width)


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[number] for number in shown) + GAP * (len(shown) - 1)


def _widened(shown: Sequence[int], least: Sequence[int], wanted: Sequence[int], width: int) -> list[Place]:
    """Give the cells that are left to the columns that were cut, those on the left first."""
    left = max(0, width - _total(least, shown))
    places = []
    for number in shown:
        more = min(left, wanted[number] - least[number])
        left -= more
        places.append(Place(number, least[number] + more))
    return places


def cut(text: str, width: int, tail: int = 0) -> str:
    """Return a text in exactly so many cells: filled up, or without what comes before its last characters."""
    if not text.isprintable():  # names may hold anything, and must not move the cursor
        text = "".join(each if each.isprintable() else " " for each in text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    end = min(tail, (width - 1) // 2)
    whole = set_cell_size(text, width - 1 - end) + ELLIPSIS + text[len(text) - end :]
    return set_cell_size(whole, width)
