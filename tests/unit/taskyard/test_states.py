import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from taskyard import states
from taskyard.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingResult,
    PausedRun,
    UnfinishedRun,
)
from taskyard.states import Completed, Failed, State, StateDetails, StateType

ALL_MADE = [
    ("Scheduled", "SCHEDULED", "scheduled"),
    ("Late", "SCHEDULED", "scheduled"),
    ("AwaitingRetry", "SCHEDULED", "scheduled"),
    ("AwaitingConcurrencySlot", "SCHEDULED", "scheduled"),
    ("Pending", "PENDING", "pending"),
    ("NotReady", "PENDING", "pending"),
    ("Running", "RUNNING", "running"),
    ("Retrying", "RUNNING", "running"),
    ("Paused", "PAUSED", "paused"),
    ("Suspended", "PAUSED", "paused"),
    ("Cancelling", "CANCELLING", "cancelling"),
    ("Cancelled", "CANCELLED", "cancelled"),
    ("Completed", "COMPLETED", "completed"),
    ("Cached", "COMPLETED", "completed"),
    ("Failed", "FAILED", "failed"),
    ("TimedOut", "FAILED", "failed"),
    ("Crashed", "CRASHED", "crashed"),
]
QUESTIONS = {question for _, _, question in ALL_MADE}


@pytest.mark.parametrize(("name", "state_type", "question"), ALL_MADE)
def test_b1_2_standard_names_by_type(name: str, state_type: str, question: str) -> None:
    state = getattr(states, name)()
    assert (state.name, state.type) == (name, StateType(state_type))
    answers = {asked for asked in QUESTIONS if getattr(state, f"is_{asked}")()}
    assert answers == {question}


@pytest.mark.parametrize(("name", "state_type", "question"), ALL_MADE)
def test_b1_1_final_types(name: str, state_type: str, question: str) -> None:
    final = question in {"completed", "failed", "crashed", "cancelled"}
    assert getattr(states, name)().is_final() is final


def test_b1_2_default_name_is_the_title_cased_type() -> None:
    assert State("COMPLETED").name == "Completed"
    assert State(StateType.PENDING, name="Waiting for lunch").name == "Waiting for lunch"


def test_b1_2_a_missing_scheduled_time_is_now() -> None:
    before = datetime.now(UTC)
    scheduled = states.Scheduled().state_details.scheduled_time
    assert scheduled is not None
    assert before <= scheduled <= datetime.now(UTC)


def test_b1_3_a_scheduled_time_is_kept_and_may_be_given_once() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert states.AwaitingRetry(at).state_details.scheduled_time == at
    with pytest.raises(ValueError, match="scheduled_time"):
        states.Scheduled(at, state_details=StateDetails(scheduled_time=at))


def test_b1_3_a_pause_has_a_timeout() -> None:
    before = datetime.now(UTC)
    timeout = states.Paused(timeout_seconds=60).state_details.pause_timeout
    assert timeout is not None
    assert timeout >= before + timedelta(seconds=60)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="DONE"):
        State("DONE")


def test_b1_5_completed_returns_its_value_even_none() -> None:
    assert Completed(data=3).result() == 3
    assert Completed(data=None).result() is None
    assert asyncio.run(Completed(data=3).aresult()) == 3


def test_b1_5_completed_without_data_is_a_missing_result() -> None:
    state = Completed()
    assert state.data is None
    with pytest.raises(MissingResult, match="no value was stored"):
        state.result()


def test_b1_5_a_stored_exception_is_raised_unchanged_or_returned() -> None:
    error = KeyError("a")
    with pytest.raises(KeyError) as raised:
        Failed(data=error).result()
    assert raised.value is error
    assert Failed(data=error).result(raise_on_failure=False) is error


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (Failed(message="boom"), FailedRun),
        (states.Crashed(message="boom"), CrashedRun),
        (states.Cancelled(message="boom"), CancelledRun),
        (Failed(data="boom"), FailedRun),
    ],
)
def test_b1_5_without_an_exception_object_the_message_is_raised(
    state: State[object], kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"^boom$"):
        state.result()
    assert isinstance(state.result(raise_on_failure=False), kind)


def test_b1_5_paused_and_unfinished_runs_have_no_result() -> None:
    with pytest.raises(PausedRun):
        states.Paused().result()
    with pytest.raises(UnfinishedRun, match="state Running"):
        states.Running().result(raise_on_failure=False)


def test_b7_not_ready_says_which_upstream_run_it_was() -> None:
    with pytest.raises(UnfinishedRun, match=r"NotReady.*Upstream task run 'x'"):
        states.NotReady(message="Upstream task run 'x' did not reach a 'COMPLETED' state.").result()


def test_b1_5_a_state_holding_states_raises_the_first_failure() -> None:
    held = [Completed(data=1), Failed(data=ValueError("first")), Failed(data=KeyError("second"))]
    state = Failed(data=held, message="2/3 states failed.")
    with pytest.raises(ValueError, match="first"):
        state.result()
    assert state.result(raise_on_failure=False) is held


def test_b1_5_a_state_holding_one_state_raises_its_exception() -> None:
    with pytest.raises(ValueError, match="inner"):
        Failed(data=Failed(data=ValueError("inner"))).result()


def test_a_failure_made_of_good_states_raises_its_own_message() -> None:
    with pytest.raises(FailedRun, match="1/1 states are not final"):
        Failed(data=[states.Running()], message="1/1 states are not final.").result()
    with pytest.raises(FailedRun, match="by hand"):
        Failed(data=Completed(data=1), message="by hand").result()


def test_a_completed_run_has_no_exception() -> None:
    with pytest.raises(ValueError, match="no exception"):
        Completed(data=1).exception()


def test_data_is_decoded_once_and_only_when_asked_for() -> None:
    calls: list[int] = []

    def decode() -> int:
        calls.append(1)
        return 7

    state: State[int] = State("COMPLETED", decode=decode)
    assert state.is_completed()
    assert state.has_data
    assert calls == []
    assert (state.result(), state.data) == (7, 7)
    assert calls == [1]


def test_how_states_are_shown() -> None:
    assert repr(Completed(message="All states completed.")) == (
        "Completed(message='All states completed.', type=COMPLETED)"
    )
    assert repr(Completed()) == "Completed(message=None, type=COMPLETED)"
    assert str(Completed()) == "Completed()"
    assert str(Completed(message="All states completed.")) == "Completed('All states completed.')"
    assert str(states.Cached()) == "Cached(type=COMPLETED)"


def test_states_survive_pickling() -> None:
    details = StateDetails(task_run_id=UUID(int=5), cache_key="k", cache_expiration=timedelta(1))
    before = State[int]("COMPLETED", name="Fine", message="m", decode=lambda: 3, state_details=details)
    after = pickle.loads(pickle.dumps(before))
    assert (after.type, after.name, after.message, after.data) == (StateType.COMPLETED, "Fine", "m", 3)
    assert after.timestamp == before.timestamp
    assert after.state_details.task_run_id == UUID(int=5)
    assert after.state_details.cache_key == "k"
    assert pickle.loads(pickle.dumps(Completed())).has_data is False


def test_a_state_becomes_that_of_a_flow_run_without_a_look_at_its_data() -> None:
    class Mine(State[int]):
        pass

    before = Mine("COMPLETED", decode=lambda: 3, state_details=StateDetails(cache_key="k"))
    before.note = "own"  # type: ignore[attr-defined]
    after = before.of_flow_run(UUID(int=5))
    assert after._decode is not None
    assert (type(after), after.data, after.note) == (Mine, 3, "own")  # type: ignore[attr-defined]
    assert (after.state_details.flow_run_id, after.state_details.cache_key) == (UUID(int=5), "k")
    assert before.state_details.flow_run_id is None


def test_details_show_only_what_is_known() -> None:
    assert repr(StateDetails(cache_key="k")) == "StateDetails(cache_key='k')"


def test_b1_5_the_exception_of_a_state() -> None:
    error = ValueError("no")
    assert states.get_state_exception(Failed(data=error)) is error
    assert states.get_state_exception(Failed(data=[Completed(), Failed(data=error)])) is error
    crashed = states.get_state_exception(states.Crashed(message="gone"))
    assert (type(crashed), str(crashed)) == (CrashedRun, "gone")
    assert asyncio.run(states.aget_state_exception(Failed(data=error))) is error
    for other in (Completed(), states.Running()):
        with pytest.raises(ValueError, match="Expected failed or crashed state got"):
            states.get_state_exception(other)


def test_b1_5_a_state_raises_if_it_was_not_successful() -> None:
    for other in (Completed(), states.Running(), states.Paused()):
        states.raise_state_exception(other)
    with pytest.raises(ValueError, match="no"):
        states.raise_state_exception(Failed(data=ValueError("no")))
    with pytest.raises(CancelledRun, match="unwanted"):
        asyncio.run(states.araise_state_exception(states.Cancelled(message="unwanted")))


def test_a_group_counts_its_states() -> None:
    group = states.StateGroup([Completed(), Failed(), states.Crashed(), states.Running(), states.Paused()])
    assert (group.total_count, group.final_count, group.not_final_count) == (5, 3, 2)
    assert (group.fail_count, group.paused_count, group.cancelled_count) == (2, 1, 0)
    assert (group.all_completed(), group.any_failed(), group.any_paused(), group.any_cancelled()) == (
        False,
        True,
        True,
        False,
    )
    assert repr(group).startswith("StateGroup<total=5, not_final=2, 'COMPLETED'=1, 'FAILED'=1")
    assert states.StateGroup([Completed()]).all_completed()
    assert states.StateGroup([Completed()]).all_final()


def test_row_66_a_value_becomes_the_state_of_its_run() -> None:
    by_hand = Failed(message="by hand")
    assert asyncio.run(states.return_value_to_state(by_hand, result_store=None)) is by_hand
    made = asyncio.run(states.return_value_to_state([Completed(), Failed()]))
    assert (made.is_failed(), made.message) == (True, "1/2 states failed.")
    assert asyncio.run(states.return_value_to_state(5)).result() == 5
    assert asyncio.run(states.return_value_to_state(x for x in "ab")).result() == ["a", "b"]


def test_an_exception_becomes_a_state() -> None:
    error = ValueError("no")
    failed = asyncio.run(states.exception_to_failed_state(error, message="Oh:", name="Bad"))
    assert (failed.name, failed.message, failed.data) == ("Bad", "Oh: ValueError: no", error)
    assert failed.state_details.retriable is False
    try:
        raise error
    except ValueError:
        assert asyncio.run(states.exception_to_failed_state()).data is error
    with pytest.raises(ValueError, match="none is being handled"):
        asyncio.run(states.exception_to_failed_state())
    crashed = asyncio.run(states.exception_to_crashed_state(KeyboardInterrupt()))
    assert (crashed.is_crashed(), crashed.message) == (True, "Execution was aborted by an interrupt signal.")
