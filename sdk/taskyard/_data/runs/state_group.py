"""Several states at once: how many there are of each type, and the one state that stands for all."""

from collections import Counter
from collections.abc import Iterable
from types import GeneratorType
from typing import Any

from taskyard._data.runs.state import FINAL_TYPES, State, is_state, is_state_iterable
from taskyard._durable_names import public
from taskyard_contract.states import StateType


@public("taskyard.states")
class StateGroup:
    """States, counted by their types."""

    def __init__(self, states: Iterable[State[Any]]) -> None:
        """Count some states."""
        self.states = list(states)
        self.type_counts = Counter(state.type for state in self.states)
        self.total_count = len(self.states)
        self.cancelled_count = self.type_counts[StateType.CANCELLED]
        self.paused_count = self.type_counts[StateType.PAUSED]
        self.final_count = sum(self.type_counts[kind] for kind in FINAL_TYPES)
        self.not_final_count = self.total_count - self.final_count

    @property
    def fail_count(self) -> int:
        """How many failed or crashed."""
        return self.type_counts[StateType.FAILED] + self.type_counts[StateType.CRASHED]

    def all_completed(self) -> bool:
        """Say whether all completed; of no states that is true."""
        return self.type_counts[StateType.COMPLETED] == self.total_count

    def any_cancelled(self) -> bool:
        """Say whether one was cancelled."""
        return self.cancelled_count > 0

    def any_failed(self) -> bool:
        """Say whether one failed or crashed."""
        return self.fail_count > 0

    def any_paused(self) -> bool:
        """Say whether one is paused."""
        return self.paused_count > 0

    def all_final(self) -> bool:
        """Say whether all runs have ended."""
        return self.final_count == self.total_count

    def counts_message(self) -> str:
        """Say how many there are of each type, for people."""
        open_ones = [f"not_final={self.not_final_count}"] if self.not_final_count else []
        counts = [f"{kind.value!r}={count}" for kind, count in self.type_counts.items() if count]
        return ", ".join([f"total={self.total_count}", *open_ones, *counts])

    def __repr__(self) -> str:
        """Show the counts."""
        return f"StateGroup<{self.counts_message()}>"


def aggregate(states: Iterable[State[Any]], data: Any = None) -> State[Any]:
    """Return the one state that stands for several; `data` defaults to these."""
    group = StateGroup(states)
    held = group.states if data is None else data
    total = group.total_count
    if group.all_completed():
        return State(StateType.COMPLETED, message="All states completed.", data=held)
    if group.any_cancelled():
        message = f"{group.cancelled_count}/{total} states cancelled."
        return State(StateType.CANCELLED, message=message, data=held)
    if group.any_paused():
        return State(StateType.PAUSED, message=f"{group.paused_count}/{total} states paused.", data=held)
    if not group.all_final():
        message = f"{group.not_final_count}/{total} states are not final."
    else:
        message = f"{group.fail_count}/{total} states failed."
    return State(StateType.FAILED, message=message, data=held)


def state_of_value(returned: Any, *, as_given: bool = True) -> State[Any]:
    """Return the state that a run ends in whose function returned a value.

    Args:
        returned: The value, without futures in it.
        as_given: Whether it is what the function returned itself: a state that belongs to no run is used as
            it is then.
    """
    if is_state(returned):
        details = returned.state_details
        by_hand = as_given and details.task_run_id is None and details.flow_run_id is None
        return returned if by_hand else aggregate([returned], data=returned)
    if is_state_iterable(returned):
        return aggregate(returned, data=returned)
    return State(
        StateType.COMPLETED, data=list(returned) if isinstance(returned, GeneratorType) else returned
    )
