"""The part of an id that tells runs apart, for people. Pure.

Ids begin with the time in milliseconds, then come a version digit and a count within the millisecond; the
rest is drawn once for each process. So the beginning is the same for all runs of some minutes, and the end
for all runs of a program. What differs is in the middle: of ``01a22968-5ba6-7004-9081-9537dfca0000`` that is
``68-5ba6-7004``, the lower digits of the time and the count. It stands in the whole id as it is written here,
so that `grep` finds one with the other.
"""

from collections.abc import Iterable
from typing import Final

from taskyard_contract.ids import ID_BYTES, format_id

FIRST: Final = 6
"""Which of the characters of an id is the first that is shown: from there on times repeat after 4.7 hours."""
USUAL: Final = len("68-5ba6-7004")


class ShortIds:
    """The shortest parts of some ids that are different for all of them."""

    def __init__(self, ids: Iterable[bytes]) -> None:
        """Choose one part of all ids, so that they are equally long."""
        texts = {format_id(each) for each in ids if len(each) == ID_BYTES}
        self._first, self._last = _window(texts)

    def of(self, run_id: bytes) -> str:
        """Return the part of an id; one that is no UUID is shown whole."""
        text = format_id(run_id)
        return text[self._first : self._last] if len(run_id) == ID_BYTES else text


def _window(texts: set[str]) -> tuple[int, int]:
    for last in range(FIRST + USUAL, 37):
        if len({text[FIRST:last] for text in texts}) == len(texts) and not _ends_at_a_dash(last):
            return FIRST, last
    return 0, 36  # they differ in the hour, or are no ids of this kind


def _ends_at_a_dash(last: int) -> bool:
    return last - 1 in (8, 13, 18, 23)


def short_id(run_id: bytes) -> str:
    """Return the part of one id."""
    return ShortIds([run_id]).of(run_id)
