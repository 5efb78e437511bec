"""What is known of a column of a table before its cells are."""

from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table, and what becomes of it on a terminal that is too narrow."""

    heading: str
    least: int = 0
    """To how many cells its text may be cut; 0: never."""
    rank: int = 0
    """The higher, the earlier it goes; 0: it always stays."""
    tail: int = 0
    """How much of its end a text keeps that is cut: the ends of names tell runs apart, as `load-1`."""
