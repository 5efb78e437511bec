"""What a database says of rows that it can store in no mood, as against trouble of its own."""

from typing import NamedTuple


class RefusedRow(NamedTuple):
    """A row of a batch that cannot be stored."""

    batch_list: str
    """The list of `WriteBatch` that holds it."""
    place: int
    """Where in that list."""
    why: str
    """For people: the column where it is known, and what is wrong with it. No value of the row."""
