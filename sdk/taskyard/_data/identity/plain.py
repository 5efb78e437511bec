"""Which globals are constants of a program: values that change only when somebody changes them."""

from dataclasses import fields, is_dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

_MOST: Final = 1_000_000
"""Parts of a constant. What is larger is data: it belongs among the arguments."""
_SIMPLE: Final = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    type,
    FunctionType,
    BuiltinFunctionType,
    Enum,
    range,
)
_SIMPLE_MODULES: Final = frozenset(
    {"datetime", "decimal", "fractions", "pathlib", "pathlib._local", "re", "uuid", "zoneinfo"}
)
"""Modules of Python whose objects never change; named, because to import them takes time."""


def parts_of_plain(value: Any) -> int | None:
    """Return how many parts a text, a number, a date, or a collection of such has; None of all else."""
    left = _left(value, _MOST, ())
    return _MOST - left if left >= 0 else None


def _left(value: Any, most: int, inside: tuple[int, ...]) -> int:
    """Return how many parts are left of so many; negative when the value is not plain, or has more."""
    if isinstance(value, _SIMPLE) or type(value).__module__ in _SIMPLE_MODULES:
        return most - 1
    if id(value) in inside:
        return -1
    parts = _parts(value)
    if parts is None or len(parts) > most:
        return -1
    left = most - 1
    for part in parts:
        left = _left(part, left, (*inside, id(value)))
        if left < 0:
            return left
    return left


def _parts(value: Any) -> list[Any] | None:
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if is_dataclass(value):
        return [getattr(value, one.name, None) for one in fields(value)]
    return None
