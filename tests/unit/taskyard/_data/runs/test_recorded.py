import pickle
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from taskyard._data.runs.recorded import exception_of, from_outcome, from_run
from taskyard.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    FlowRunTimeoutError,
    TaskRunTimeoutError,
    TooManyWaitingRuns,
)
from taskyard_api.v1 import common_pb2, failure_pb2, run_service_pb2, session_service_pb2
from taskyard_contract.states import RunKind, RunState, StateReason

RUN_ID = bytes(range(16))


def decode(payload: common_pb2.Payload) -> Any:
    return pickle.loads(payload.data)


def payload(value: object) -> common_pb2.Payload:
    return common_pb2.Payload(encoding="python/pickle5", data=pickle.dumps(value))


def outcome(state: RunState, **fields: Any) -> session_service_pb2.RunOutcome:
    fields["state"] = int(state)
    return session_service_pb2.RunOutcome(run_id=RUN_ID, **fields)


def record(**fields: Any) -> run_service_pb2.Run:
    return run_service_pb2.Run(run_id=RUN_ID, **{"kind": int(RunKind.TASK), **fields})


def test_a_completed_outcome_is_decoded_when_asked_for() -> None:
    asked: list[common_pb2.Payload] = []

    def counting(given: common_pb2.Payload) -> Any:
        asked.append(given)
        return decode(given)

    state = from_outcome(outcome(RunState.COMPLETED, result=payload([1]), ended_us=1_500_000), counting)
    assert state.is_completed()
    assert state.timestamp == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)
    assert state.state_details.task_run_id == UUID(bytes=RUN_ID)
    assert asked == []
    assert state.result() == [1]
    assert len(asked) == 1


def test_b5_7_a_cache_hit_is_named_cached() -> None:
    hit = outcome(RunState.COMPLETED, reason=int(StateReason.CACHED), result=payload(1))
    assert str(from_outcome(hit, decode)) == "Cached(type=COMPLETED)"


def test_a_completed_state_made_by_hand_may_have_no_value() -> None:
    state = from_outcome(outcome(RunState.COMPLETED, state_name="Skipped", message="nothing to do"), decode)
    assert (state.name, state.message, state.has_data) == ("Skipped", "nothing to do", False)


def test_row_39_the_exception_of_a_task_comes_back_unchanged() -> None:
    failure = failure_pb2.Failure(
        type="ValueError",
        message="bad",
        traceback="File task.py, line 3\n",
        encoded=payload(ValueError("bad", 3)),
    )
    state = from_outcome(outcome(RunState.FAILED, failure=failure), decode)
    with pytest.raises(ValueError, match="bad") as raised:
        state.result()
    assert raised.value.args == ("bad", 3)
    assert "File task.py, line 3" in raised.value.__notes__[0]


def test_causes_are_rebuilt() -> None:
    failure = failure_pb2.Failure(
        type="ValueError",
        encoded=payload(ValueError("outer")),
        cause=failure_pb2.Failure(type="KeyError", encoded=payload(KeyError("inner"))),
    )
    error = exception_of(failure, decode)
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("encoded", [None, common_pb2.Payload(data=b"damaged"), payload("not an exception")])
def test_an_exception_that_cannot_be_rebuilt_is_described(encoded: common_pb2.Payload | None) -> None:
    failure = failure_pb2.Failure(type="lib.Missing", message="no such thing", encoded=encoded)
    error = exception_of(failure, decode)
    assert isinstance(error, FailedRun)
    assert str(error) == "lib.Missing: no such thing"


def test_an_exception_without_text_is_named() -> None:
    assert str(exception_of(failure_pb2.Failure(type="lib.Missing"), decode)) == "lib.Missing"


@pytest.mark.parametrize(
    ("state", "reason", "kind"),
    [
        (RunState.FAILED, StateReason.CODE_UNAVAILABLE, FailedRun),
        (RunState.FAILED, StateReason.TIMED_OUT, TaskRunTimeoutError),
        (RunState.FAILED, StateReason.WAITING_REFUSED, TooManyWaitingRuns),
        (RunState.CRASHED, StateReason.WORKER_DIED, CrashedRun),
        (RunState.CANCELLED, StateReason.CANCEL_REQUESTED, CancelledRun),
    ],
)
def test_b1_5_failures_without_an_exception_raise_by_their_type(
    state: RunState, reason: StateReason, kind: type[Exception]
) -> None:
    made = from_outcome(outcome(state, reason=int(reason), message="it went wrong"), decode)
    with pytest.raises(kind, match="it went wrong"):
        made.result()


def test_row_14_a_timeout_is_a_timeout_error() -> None:
    timed_out = outcome(RunState.FAILED, reason=int(StateReason.TIMED_OUT))
    assert from_outcome(timed_out, decode).name == "TimedOut"
    with pytest.raises(TimeoutError):
        from_outcome(timed_out, decode).result()
    flow_state = from_outcome(timed_out, decode, flow=True)
    assert isinstance(flow_state.exception(), FlowRunTimeoutError)
    assert flow_state.state_details.flow_run_id == UUID(bytes=RUN_ID)


def test_b7_not_ready_is_pending_and_without_data() -> None:
    state = from_outcome(outcome(RunState.NOT_READY, message="Upstream ..."), decode)
    assert (state.is_pending(), state.is_final(), state.name) == (True, False, "NotReady")
    assert not state.has_data


def test_b1_4_a_later_attempt_is_retrying() -> None:
    run = record(state=int(RunState.RUNNING), attempt=2, started_us=1_000_000)
    state = from_run(run, decode)
    assert str(state) == "Retrying(type=RUNNING)"
    assert state.timestamp == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_records_of_task_and_flow_runs_have_their_ids() -> None:
    flow_id = bytes(16)
    run = record(
        flow_run_id=flow_id,
        state=int(RunState.COMPLETED),
        cache_key="k",
    )
    details = from_run(run, decode).state_details
    assert (details.task_run_id, details.flow_run_id) == (UUID(bytes=RUN_ID), UUID(bytes=flow_id))
    assert details.cache_key == "k"
    run = record(kind=int(RunKind.FLOW), state=int(RunState.RUNNING))
    details = from_run(run, decode).state_details
    assert (details.task_run_id, details.flow_run_id) == (None, UUID(bytes=RUN_ID))
