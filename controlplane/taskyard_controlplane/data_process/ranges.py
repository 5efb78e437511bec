"""Which bytes of a blob a request wants. Pure.

One range is understood. What is no range of bytes, or several, is answered with all of the blob, as if nobody
had asked: RFC 9110, section 14.2, allows it, and whoever asked sees it by the status.
"""

import re
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=[ \t]*(?P<first>[0-9]*)-(?P<last>[0-9]*)[ \t]*", re.IGNORECASE)
_MOST_DIGITS: Final = 20
"""Longer numbers are no places in a file, and take time to read."""


class RangeNotSatisfiable(Exception):
    """No byte of the blob is in the range."""


class Span(NamedTuple):
    """Some bytes of a blob."""

    start: int
    end: int
    """Behind the last one."""


def span_of(header: str | None, size: int) -> Span | None:
    """Return which bytes of `size` a header asks for; None is all of them.

    Raises:
        RangeNotSatisfiable: There are none of those.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found["first"] or found["last"]):
        return None
    if max(len(found["first"]), len(found["last"])) > _MOST_DIGITS:
        return None
    if not found["first"]:  # so many from the end
        wanted = min(int(found["last"]), size)
        if not wanted:
            raise RangeNotSatisfiable
        return Span(size - wanted, size)
    first, last = int(found["first"]), int(found["last"] or size)
    if first > last and found["last"]:
        return None  # malformed, so to be ignored
    if first >= size:
        raise RangeNotSatisfiable
    return Span(first, min(last + 1, size))
