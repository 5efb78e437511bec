"""Values made of values: collections, dataclasses, pydantic models.

Invariant: a value of which no part changes is returned as the same object. One that changes is copied, as
pickling would copy it, with other parts: its class and all else about it stay, and its constructor is not
called again.
"""

import copy
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from typing import Any


def with_parts(value: Any, changed: Callable[[Any], Any], inside: set[int]) -> Any:
    """Return a value with its parts as `changed` returns them; one without parts is returned as it is.

    Args:
        value: Any value.
        changed: Returns what takes the place of a part.
        inside: The containers that the value lies in, by identity; one that holds itself is entered once.
    """
    if isinstance(value, dict):
        return _rebuilt(value, list(value.values()), changed, inside, _filled)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _rebuilt(value, value, changed, inside, _like)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if hasattr(value, field.name)]
        parts = [getattr(value, name) for name in names]
        return _rebuilt(value, parts, changed, inside, lambda old, new: _with_fields(old, names, new))
    if hasattr(type(value), "model_fields") and hasattr(value, "model_copy"):
        names = list(type(value).model_fields)
        parts = [getattr(value, name) for name in names]
        return _rebuilt(
            value,
            parts,
            changed,
            inside,
            lambda old, new: old.model_copy(update=dict(zip(names, new, strict=True))),
        )
    return value


def _rebuilt(
    value: Any,
    parts: Collection[Any],
    changed: Callable[[Any], Any],
    inside: set[int],
    rebuild: Callable[[Any, list[Any]], Any],
) -> Any:
    if id(value) in inside:
        return value
    inside.add(id(value))
    try:
        new = [changed(part) for part in parts]
    finally:
        inside.discard(id(value))
    return value if all(a is b for a, b in zip(parts, new, strict=True)) else rebuild(value, new)


def _filled(value: dict[Any, Any], parts: list[Any]) -> Any:
    other = copy.copy(value)
    for key, part in zip(value, parts, strict=True):
        other[key] = part
    return other


def _with_fields(value: Any, names: list[str], parts: list[Any]) -> Any:
    other = copy.copy(value)
    for name, part in zip(names, parts, strict=True):
        object.__setattr__(other, name, part)  # it may be frozen
    return other


def _like(value: Any, parts: list[Any]) -> Any:
    """Rebuild a collection; a list of futures becomes a plain list, it no longer holds any."""
    if isinstance(value, list):
        other = copy.copy(value)
        other[:] = parts
        return other
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*parts)
    return type(value)(parts)
