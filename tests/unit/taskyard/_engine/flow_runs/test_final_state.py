from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from support.origins import nowhere

from taskyard._engine.flow_runs.final_state import final_state_of
from taskyard.futures import Future
from taskyard.states import Cancelled, Completed, Crashed, Failed, Paused, Running, State, StateDetails
from taskyard_contract.id_factory import new_id


class FutureDouble(Future[Any]):
    def __init__(self, final: State[Any]) -> None:
        super().__init__(new_id(), nowhere())
        self._final = final
        self.waited = False

    @property
    def state(self) -> State[Any]:
        return self._final if self.waited else Running()

    def wait(self, timeout: float | None = None) -> State[Any]:
        self.waited = True
        return self._final

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        return self.wait().result(raise_on_failure)

    def __bool__(self) -> bool:
        raise TypeError("futures have no truth value")


@dataclass
class Report:
    title: str
    parts: list[Any]


GOOD, BAD = Completed(data=1), Failed(data=ValueError("bad"))


@pytest.mark.parametrize("value", [None, 3, "text", [], [1, GOOD], {"a": GOOD}])
def test_b11_1_anything_else_completes_with_the_value(value: object) -> None:
    state = final_state_of(value)
    assert state.is_completed()
    assert state.message is None
    assert state.result() is value


def test_b11_1_a_state_made_by_hand_is_taken_as_it_is() -> None:
    by_hand = Failed(message="no", name="Refused")
    assert final_state_of(by_hand) is by_hand


def test_b11_1_a_state_of_a_run_is_aggregated() -> None:
    of_run = Failed(state_details=StateDetails(task_run_id=UUID(int=1)))
    state = final_state_of(of_run)
    assert (state.is_failed(), state.message, state.data) == (True, "1/1 states failed.", of_run)


@pytest.mark.parametrize("collection", [list, tuple, set])
def test_b11_1_collections_of_states_are_aggregated(collection: Any) -> None:
    assert str(final_state_of(collection([GOOD, Completed()]))) == "Completed('All states completed.')"
    assert str(final_state_of(collection([GOOD, BAD]))) == "Failed('1/2 states failed.')"


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([Cancelled(), BAD, GOOD], "Cancelled('1/3 states cancelled.')"),
        ([Paused(), BAD], "Paused('1/2 states paused.')"),
        ([Running(), BAD], "Failed('1/2 states are not final.')"),
        ([Crashed(), BAD], "Failed('2/2 states failed.')"),
    ],
)
def test_b11_1_how_states_add_up(states: list[State[Any]], shown: str) -> None:
    assert str(final_state_of(states)) == shown


def test_b11_1_futures_are_waited_for_and_decide() -> None:
    futures = [FutureDouble(GOOD), FutureDouble(BAD)]
    state = final_state_of(futures)
    assert str(state) == "Failed('1/2 states failed.')"
    assert state.data == [GOOD, BAD]
    assert all(future.waited for future in futures)
    with pytest.raises(ValueError, match="bad"):
        state.result()


def test_b11_1_one_future_decides_too() -> None:
    assert final_state_of(FutureDouble(GOOD)).message == "All states completed."
    assert final_state_of(FutureDouble(BAD)).is_failed()


def test_b11_1_futures_in_any_nesting_become_states_without_deciding() -> None:
    report = Report("r", [FutureDouble(BAD), (FutureDouble(GOOD), 3)])
    state = final_state_of({"report": report})
    assert state.is_completed()
    assert state.data == {"report": Report("r", [BAD, (GOOD, 3)])}
    assert isinstance(report.parts[0], FutureDouble)


def test_values_without_futures_are_not_copied() -> None:
    value = {"a": [1, (2, {3})], "b": Report("r", [])}
    assert final_state_of(value).data is value


def test_b11_2_with_nothing_returned_all_runs_may_decide() -> None:
    assert str(final_state_of(None, [GOOD, BAD])) == "Failed('1/2 states failed.')"
    assert final_state_of(None, []).is_completed()
    assert final_state_of(3, [BAD]).result() == 3
