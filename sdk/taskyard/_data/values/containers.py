"""Values made of values: collections, dataclasses, pydantic models.

Invariant: a value of which no part changes is returned as the same object.
"""

from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any


def with_parts(value: Any, changed: Callable[[Any], Any]) -> Any:
    """Return a value with its parts as `changed` returns them; one without parts is returned as it is."""
    if isinstance(value, dict):
        return _rebuilt(value, value.values(), changed, lambda new: dict(zip(value, new, strict=True)))
    if isinstance(value, (list, tuple, set, frozenset)):
        return _rebuilt(value, value, changed, lambda new: _like(value, new))
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        return _fields_rebuilt(value, names, changed, lambda new: replace(value, **new))
    if hasattr(type(value), "model_fields") and hasattr(value, "model_copy"):
        names = list(type(value).model_fields)
        return _fields_rebuilt(value, names, changed, lambda new: value.model_copy(update=new))
    return value


def _fields_rebuilt(
    value: Any, names: list[str], changed: Callable[[Any], Any], rebuild: Callable[[dict[str, Any]], Any]
) -> Any:
    old = [getattr(value, name) for name in names]
    return _rebuilt(value, old, changed, lambda new: rebuild(dict(zip(names, new, strict=True))))


def _rebuilt(
    value: Any, parts: Collection[Any], changed: Callable[[Any], Any], rebuild: Callable[[list[Any]], Any]
) -> Any:
    new = [changed(part) for part in parts]
    return value if all(a is b for a, b in zip(parts, new, strict=True)) else rebuild(new)


def _like(value: Any, parts: list[Any]) -> Any:
    """Rebuild a collection; a list of futures becomes a plain list, it no longer holds any."""
    if isinstance(value, list):
        return parts
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*parts)
    return type(value)(parts)
