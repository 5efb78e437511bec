"""Finds the rows of a batch for which the database refuses all of it.

That an error speaks of rows, and not of the database, is told by `faults`. Which row is meant, drivers mostly
do not tell. So the batch is tried in parts, in transactions that are rolled back: halves of what is refused,
and halves of those.

Invariant: nothing here stays in the database.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import BigInteger, Integer, SmallInteger
from sqlalchemy.exc import DBAPIError

from taskyard_controlplane.storage.interface import RefusedRow, RowsRefused, WriteBatch
from taskyard_controlplane.storage.interface.tables import WRITES
from taskyard_controlplane.storage.schema import metadata

T = TypeVar("T")
Item = tuple[str, int]
"""A list of the batch and a place in it."""

_BLOBS: Final = "blobs"
_BITS: Final = ((SmallInteger, 16), (BigInteger, 64), (Integer, 32))


def find_refused(batch: WriteBatch, attempt: Callable[[WriteBatch], None]) -> list[RefusedRow]:
    """Return the rows without which a batch can be stored; none when they are not what is wrong with it.

    Args:
        batch: What was refused.
        attempt: Writes a batch and takes it back; raises `RowsRefused` when that cannot be done.
    """
    reasons: dict[tuple[Item, ...], str] = {}

    def passes(items: Sequence[Item]) -> bool:
        try:
            attempt(part_of(batch, items))
        except RowsRefused as error:
            reasons[tuple(items)] = _said(error)
            return False
        return True

    if not passes(()):
        return []
    guilty = search(items_of(batch), passes)
    return [
        RefusedRow(name, place, _why(batch, name, place) or reasons.get(((name, place),)) or "it is refused")
        for name, place in guilty
    ]


def items_of(batch: WriteBatch) -> list[Item]:
    """Name everything a batch writes, in the order in which it is written."""
    names = [_BLOBS, *(write.batch_list for write in WRITES)]
    return [(name, place) for name in names for place in range(len(getattr(batch, name)))]


def part_of(batch: WriteBatch, items: Iterable[Item]) -> WriteBatch:
    """Return a batch with some of the rows of another one, and nothing that comes after them."""
    part = WriteBatch(batch.number)
    part.now_us = batch.now_us
    for name, place in items:
        getattr(part, name).append(getattr(batch, name)[place])
    return part


def search(items: Sequence[T], passes: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return which items have to go so that the others pass.

    Args:
        items: Of which not all pass together.
        passes: Whether some items pass; nothing does.
    """
    found = _halved(items, passes)
    known = set(found)
    left = [item for item in items if item not in known]
    # What passes in every half may not pass together: two rows can be in each other's way.
    while left and not passes(left):
        guilty = _first_too_much(left, passes)
        found.append(guilty)
        left.remove(guilty)
    return found


def _halved(items: Sequence[T], passes: Callable[[Sequence[T]], bool]) -> list[T]:
    if not items or passes(items):
        return []
    if len(items) == 1:
        return list(items)
    middle = len(items) // 2
    return _halved(items[:middle], passes) + _halved(items[middle:], passes)


def _first_too_much(items: Sequence[T], passes: Callable[[Sequence[T]], bool]) -> T:
    """Return the item with which the shortest beginning that does not pass ends."""
    good, bad = 0, len(items)
    while bad - good > 1:
        middle = (good + bad) // 2
        if passes(items[:middle]):
            good = middle
        else:
            bad = middle
    return items[bad - 1]


def _said(error: RowsRefused) -> str:
    """Return the kind of a driver's error: its words may hold what was to be written."""
    cause = error.__cause__
    cause = cause.orig if isinstance(cause, DBAPIError) else cause
    return f"the database refuses it ({type(cause).__name__})"


def _why(batch: WriteBatch, name: str, place: int) -> str:
    """Say which column holds what no database stores; empty when that is not to be seen."""
    write = next((write for write in WRITES if write.batch_list == name), None)
    if write is None:
        return ""
    table = metadata.tables[write.table]
    for column, value in zip(write.columns, getattr(batch, name)[place], strict=False):
        wrong = _wrong(value, table.c[column].type)
        if wrong:
            return f"'{column}' {wrong}"
    return ""


def _wrong(value: object, kind: Any) -> str:
    if isinstance(value, int):
        bits = next((bits for type_, bits in _BITS if isinstance(kind, type_)), 0)
        if bits and not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            return f"is a number of more than {bits} bits"
    elif isinstance(value, float):
        return "is no whole number"
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds what is no text"
    return ""
