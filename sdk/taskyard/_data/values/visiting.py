"""Visits of everything that is in a value, at any depth."""

import copy
from collections.abc import Callable
from typing import Any

from taskyard._data.values.containers import with_parts
from taskyard._durable_names import public


@public("taskyard.utilities.collections")
class StopVisiting(BaseException):
    """Raised by a function that visits, when it wants to see nothing of what is in the value."""


class _Visit:
    """One visit of a value."""

    def __init__(self, visit: Callable[..., Any], returns: bool, unwraps: bool) -> None:
        self._visit = visit
        self._returns = returns
        self._unwraps = unwraps
        self._inside: set[int] = set()

    def of(self, value: Any, depth: int, context: dict[str, Any] | None) -> Any:
        """Visit a value and what is in it; returns what takes its place."""
        try:
            seen = self._visit(value) if context is None else self._visit(value, context.copy())
        except StopVisiting:
            return value
        value = seen if self._returns else value
        if depth == 0 or _is_mock(value):
            return value
        if _is_annotation(value):
            return self._annotated(value, depth, context)
        if isinstance(value, dict):
            return self._with_keys(value, depth, context)
        return with_parts(value, lambda part: self.of(part, depth - 1, context), self._inside)

    def _annotated(self, value: Any, depth: int, context: dict[str, Any] | None) -> Any:
        inner = self.of(value.value, depth - 1, None if context is None else {**context, "annotation": value})
        if self._unwraps:
            return inner
        return value if inner is value.value else value.rewrap(inner)

    def _with_keys(self, value: dict[Any, Any], depth: int, context: dict[str, Any] | None) -> Any:
        if id(value) in self._inside:
            return value
        keys = [self.of(key, depth - 1, context) for key in value]
        changed = with_parts(value, lambda part: self.of(part, depth - 1, context), self._inside)
        if all(new is old for new, old in zip(keys, value, strict=True)):
            return changed
        other = copy.copy(changed)
        other.clear()
        other.update(zip(keys, changed.values(), strict=True))
        return other


def _is_annotation(value: object) -> bool:
    return hasattr(type(value), "rewrap") and hasattr(value, "value")


def _is_mock(value: object) -> bool:
    return type(value).__module__ == "unittest.mock"


@public("taskyard.utilities.collections")
def visit_collection(
    expr: Any,
    visit_fn: Callable[..., Any],
    return_data: bool = False,
    max_depth: int = -1,
    context: dict[str, Any] | None = None,
    remove_annotations: bool = False,
) -> Any:
    """Call a function with a value and with everything in it, at any depth, outermost first.

    Looks into lists, tuples, sets, dictionaries (keys as well), dataclasses, pydantic models and annotations.
    A function that raises `StopVisiting` sees nothing of what is in the value it got.

    Args:
        expr: The value.
        visit_fn: Called with each value, and with the context if one is given. What it returns takes the
            place of the value if `return_data` is set.
        return_data: Whether to return the value, with whatever took the places of its parts. A value of which
            nothing changes is returned as the same object.
        max_depth: How deep to look; 0 is the value alone, a negative number everything.
        context: Passed on to the function, as a copy; has the annotation around a value as "annotation".
        remove_annotations: Whether to return values without the annotations around them.

    Returns:
        The value, or None without `return_data`.
    """
    visited = _Visit(visit_fn, return_data, remove_annotations).of(expr, max_depth, context)
    return visited if return_data else None
