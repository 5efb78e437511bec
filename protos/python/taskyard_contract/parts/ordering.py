"""The same code and the same values give the same bytes in all processes, whatever is drawn or unordered."""

import re
from typing import Any, Final

_DRAWN: Final = re.compile("[0-9a-f]{32}")
_WRITTEN_IN_PYTHON: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE."""


class _Ordered:
    """Stands for a constant set, in an order that no seed decides."""

    __slots__ = ("items",)

    def __init__(self, items: frozenset[Any]) -> None:
        self.items = sorted(items, key=repr)

    def __reduce__(self) -> tuple[Any, ...]:
        return frozenset, (self.items,)


def ordered(argument: Any) -> Any:
    """Return an argument of code with the constant sets in it in an order that no seed decides."""
    if type(argument) is not tuple or frozenset not in map(type, argument):
        return argument
    return tuple(_Ordered(one) if type(one) is frozenset else one for one in argument)


def without_drawn(reduced: Any) -> Any:
    """Return how a class is made without the number that cloudpickle draws for it in each process."""
    if not isinstance(reduced, tuple):
        return reduced
    make, arguments, *rest = reduced
    drawn = (isinstance(one, str) and _DRAWN.fullmatch(one) for one in arguments)
    return (
        make,
        tuple(None if is_drawn else one for one, is_drawn in zip(arguments, drawn, strict=True)),
        *rest,
    )


def is_plain_object(kind: Any) -> bool:
    """Say whether a class was written in Python, and leaves it to Python how its objects are pickled."""
    return bool(
        kind.__flags__ & _WRITTEN_IN_PYTHON
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
    )
