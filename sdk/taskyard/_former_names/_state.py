"""States, as release 0.1.0 stored them."""

from typing import Any

from taskyard._durable_names import state
from taskyard.states import State, StateDetails, is_state, is_state_iterable

__all__ = ["State", "StateDetails", "_rebuild", "is_state", "is_state_iterable"]


def _rebuild(kind: type, state_type: str, parts: dict[str, Any], details: dict[str, Any]) -> Any:
    return state(state_type, parts, details, kind)
