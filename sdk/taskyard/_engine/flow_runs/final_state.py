"""How a flow run ends, decided from what its function returned.

Futures inside the returned value are waited for and replaced by their states; a state, or a collection
of nothing but states, decides the flow's own.
"""

from collections.abc import Collection, Iterable
from typing import Any

from taskyard._data.runs.state import State, is_state, is_state_iterable
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import without_futures
from taskyard.states import Completed
from taskyard_contract.states import StateType


def final_state_of(value: Any, inside: Iterable[State[Any]] = ()) -> State[Any]:
    """Return the final state of a flow run.

    Args:
        value: What its function returned; generators were collected before.
        inside: States of the runs inside it, to decide when nothing was returned (``final_state="all"``).
    """
    returned = replace_futures(value)
    if returned is None and (states := list(inside)):
        return aggregate(states)
    if is_state(returned):
        made_by_hand = returned is value and _belongs_to_nobody(returned)
        return returned if made_by_hand else aggregate([returned], data=returned)
    if is_state_iterable(returned):
        return aggregate(list(returned), data=returned)
    return Completed(data=returned)


def aggregate(states: Collection[State[Any]], data: Any = None) -> State[Any]:
    """Return the one state that stands for several; `data` defaults to these."""
    held = states if data is None else data
    total = len(states)
    if all(state.is_completed() for state in states):
        return Completed(message="All states completed.", data=held)
    for state_type in (StateType.CANCELLED, StateType.PAUSED):
        count = sum(state.type is state_type for state in states)
        if count:
            message = f"{count}/{total} states {state_type.value.lower()}."
            return State(state_type, message=message, data=held)
    open_ones = sum(not state.is_final() for state in states)
    if open_ones:
        return State(StateType.FAILED, message=f"{open_ones}/{total} states are not final.", data=held)
    bad = sum(state.is_failed() or state.is_crashed() for state in states)
    return State(StateType.FAILED, message=f"{bad}/{total} states failed.", data=held)


def replace_futures(value: Any) -> Any:
    """Return a value with the futures in it replaced by the states their runs ended in.

    Looks into collections, dataclasses and pydantic models. What holds no future is returned as the same
    object.
    """
    return without_futures(value, _state_of)


def _state_of(future: Future[Any]) -> State[Any]:
    future.wait()
    return future.state


def _belongs_to_nobody(state: State[Any]) -> bool:
    details = state.state_details
    return details.task_run_id is None and details.flow_run_id is None
