"""Futures inside values that stay in this process: found and replaced without pickling.

Invariant: what holds no future is returned as the same object, so that identity survives. Annotations are
taken off on the way, as they are for values that travel.
"""

from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any

from taskyard.futures import Future
from taskyard.utilities.annotations import Annotation, allow_failure, opaque, quote
from taskyard_contract.states import UpstreamKind

Replace = Callable[[Future[Any], int], Any]
"""Gets a future and its `UpstreamKind`, returns what takes its place."""


def futures_in(value: Any) -> dict[Future[Any], int]:
    """Return the futures in a value, at any depth, and what each is to the call it is an argument of."""
    found: dict[Future[Any], int] = {}

    def note(future: Future[Any], kind: int) -> Future[Any]:
        if found.get(future) != UpstreamKind.DATA_OR_FAILURE:
            found[future] = kind
        return future

    replaced(value, note)
    return found


def replaced(value: Any, by: Replace, kind: int = UpstreamKind.DATA) -> Any:
    """Return a value with each future in it replaced, and annotations taken off."""
    if isinstance(value, Future):
        return by(value, kind)
    if isinstance(value, Annotation):
        return _unwrapped(value, by, kind)
    if isinstance(value, dict):
        return _rebuilt(value, value.values(), lambda new: dict(zip(value, new, strict=True)), by, kind)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _rebuilt(value, list(value), lambda new: _like(value, new), by, kind)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        parts = [getattr(value, name) for name in names]
        return _rebuilt(
            value, parts, lambda new: replace(value, **dict(zip(names, new, strict=True))), by, kind
        )
    if hasattr(type(value), "model_fields") and hasattr(value, "model_copy"):
        names = list(type(value).model_fields)
        parts = [getattr(value, name) for name in names]
        return _rebuilt(
            value, parts, lambda new: value.model_copy(update=dict(zip(names, new, strict=True))), by, kind
        )
    return value


def _unwrapped(value: Annotation[Any], by: Replace, kind: int) -> Any:
    inner = value.value
    if isinstance(value, opaque):
        return by(inner, kind) if isinstance(inner, Future) else inner
    if isinstance(value, quote):
        return inner
    return replaced(inner, by, UpstreamKind.DATA_OR_FAILURE if isinstance(value, allow_failure) else kind)


def _rebuilt(
    value: Any, parts: Collection[Any], rebuild: Callable[[list[Any]], Any], by: Replace, kind: int
) -> Any:
    new = [replaced(part, by, kind) for part in parts]
    return value if all(a is b for a, b in zip(parts, new, strict=True)) else rebuild(new)


def _like(value: Any, parts: list[Any]) -> Any:
    """Rebuild a collection; a list of futures becomes a plain list, it no longer holds any."""
    if isinstance(value, list):
        return parts
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*parts)
    return type(value)(parts)
