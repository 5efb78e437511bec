"""Futures inside values that stay in this process: found and replaced without pickling.

Invariant: what holds no future is returned as the same object, so that identity survives. Annotations are
taken off on the way, as they are for values that travel.
"""

from collections.abc import Callable
from typing import Any

from taskyard._data.values.containers import with_parts
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
    return with_parts(value, lambda part: replaced(part, by, kind))


def _unwrapped(value: Annotation[Any], by: Replace, kind: int) -> Any:
    inner = value.value
    if isinstance(value, opaque):
        return by(inner, kind) if isinstance(inner, Future) else inner
    if isinstance(value, quote):
        return inner
    return replaced(inner, by, UpstreamKind.DATA_OR_FAILURE if isinstance(value, allow_failure) else kind)
