"""How a flow run ends, decided from what its function returned.

Futures inside the returned value are waited for and replaced by their states; a state, or a collection
of nothing but states, decides the flow's own.
"""

from collections.abc import Iterable
from typing import Any

from taskyard._data.runs.state import State
from taskyard._data.runs.state_group import aggregate, state_of_value
from taskyard._engine.futures.in_values import resolve_futures_to_states


def final_state_of(value: Any, inside: Iterable[State[Any]] = ()) -> State[Any]:
    """Return the final state of a flow run.

    Args:
        value: What its function returned; generators were collected before.
        inside: States of the runs inside it, to decide when nothing was returned (``final_state="all"``).
    """
    returned = resolve_futures_to_states(value)
    if returned is None and (states := list(inside)):
        return aggregate(states)
    return state_of_value(returned, as_given=returned is value)
