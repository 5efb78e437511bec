"""How much fits into one page: pages are cut by bytes, so that every client can take them.

A client that sets no limits of its own takes messages of 4 MiB, in any language. A page is far below that,
however large its items are; it may so be shorter than was asked for, and its token goes on.

Invariant: a page has at least one item if there is any, or nobody would get beyond a large one.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

from google.protobuf.message import Message

T = TypeVar("T", bound=Message)

PAGE_BYTES: Final = 1024 * 1024
"""Of the items in one page. The last one may go beyond: each is itself bounded, where it comes in."""


class Room:
    """What is left of a page."""

    def __init__(self, size: int = PAGE_BYTES) -> None:
        """Begin with an empty page."""
        self._left = size

    def take(self, size: int) -> bool:
        """Use room for an item; whether there is some for another one."""
        self._left -= size
        return self._left > 0


def first_page(items: Sequence[T], limit: int) -> Sequence[T]:
    """Return the first of some items, as many as one page holds."""
    room = Room()
    for count, item in enumerate(items[:limit], start=1):
        if not room.take(item.ByteSize()):
            return items[:count]
    return items[:limit]


def first_page_of(items: Iterable[T], limit: int) -> list[T]:
    """Return the same of items that are made when they are asked for: no more than there is room for."""
    room, page = Room(), list[T]()
    for item in islice(items, limit):
        page.append(item)
        if not room.take(item.ByteSize()):
            break
    return page
