"""What filters say of runs, and what of it is asked of the control plane."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from taskyard._data.runs.tracking import tracking_id
from taskyard.client.reading.matching import all_of, flow_test, run_test
from taskyard.client.reading.narrowing import Nothing, narrowed
from taskyard.client.reading.schemas_of import flow_id_of
from taskyard.client.schemas.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    TaskRunFilter,
)
from taskyard.exceptions import SearchTooWide
from taskyard_api.v1.run_service_pb2 import Run, RunFilter
from taskyard_contract.states import RunKind, RunState, StateReason, StateType, shown_as

ID, OTHER = UUID("00000000-0000-7000-8000-000000000001"), UUID(int=2)
PARENT, CALLER = UUID(int=3), UUID(int=4)
TRACKING = UUID(bytes=tracking_id(ID.bytes))
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER, LATER = AT - timedelta(hours=1), AT + timedelta(hours=1)


def microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def a_run(**fields: Any) -> Run:
    usual: dict[str, Any] = {
        "run_id": ID.bytes,
        "kind": int(RunKind.FLOW),
        "name": "Blue-heron",
        "task_name": "etl",
        "tags": ["nightly", "eu"],
        "state": int(RunState.FAILED),
        "reason": int(StateReason.TIMED_OUT),
        "flow_run_id": PARENT.bytes,
        "caller_run_id": CALLER.bytes,
        "submitted_us": microseconds(AT),
        "started_us": microseconds(AT),
        "attempt": 1,
    }
    return Run(**{**usual, **fields})


def fits(wanted: FlowRunFilter, run: Run) -> bool:
    test = run_test(wanted)
    return test is None or test(run)


FITTING: list[dict[str, Any]] = [
    {},
    {"id": {"any_": [ID, OTHER]}},
    {"id": {"not_any_": [OTHER]}},
    {"name": {"any_": ["Blue-heron"]}},
    {"name": {"any_": ["x", "Blue-heron"]}},
    {"name": {"like_": "blue"}},
    {"name": {"like_": "BLUE"}},
    {"tags": {"all_": ["eu"]}},
    {"tags": {"any_": ["eu", "us"]}},
    {"tags": {"all_": ["us"], "any_": ["eu"], "operator": "or_"}},
    {"tags": {"is_null_": False}},
    {"state": {"type": {"any_": ["FAILED"]}}},
    {"state": {"type": {"not_any_": ["COMPLETED"]}}},
    {"state": {"name": {"any_": ["TimedOut"]}}},
    {"state": {"name": {"not_any_": ["Failed"]}}},
    {"state": {"type": {"any_": ["COMPLETED"]}, "name": {"any_": ["TimedOut"]}, "operator": "or_"}},
    {"start_time": {"before_": AT}},
    {"start_time": {"after_": AT}},
    {"start_time": {"is_null_": False}},
    {"end_time": {"is_null_": True}},
    {"expected_start_time": {"before_": AT, "after_": AT}},
    {"parent_flow_run_id": {"any_": [PARENT]}},
    {"parent_task_run_id": {"any_": [TRACKING]}},
    {"parent_task_run_id": {"is_null_": False}},
    {"parent_flow_run_id": {"any_": [OTHER], "is_null_": False, "operator": "or_"}},
    {"name": {"any_": ["x"]}, "tags": {"all_": ["eu"]}, "operator": "or_"},
    {"id": {"any_": [OTHER]}, "state": {"type": {"any_": ["FAILED"]}}, "operator": "or_"},
]
OTHERS: list[dict[str, Any]] = [
    {"id": {"any_": [OTHER]}},
    {"id": {"any_": []}},
    {"id": {"not_any_": [ID]}},
    {"name": {"any_": ["Blue"]}},
    {"name": {"any_": ["blue-heron"]}},
    {"name": {"like_": "red"}},
    {"tags": {"all_": ["eu", "us"]}},
    {"tags": {"any_": ["us"]}},
    {"tags": {"is_null_": True}},
    {"state": {"type": {"any_": ["COMPLETED"]}}},
    {"state": {"type": {"any_": ["PAUSED"]}}},
    {"state": {"type": {"not_any_": ["FAILED"]}}},
    {"state": {"name": {"any_": ["Failed"]}}},
    {"start_time": {"before_": EARLIER}},
    {"start_time": {"after_": LATER}},
    {"start_time": {"is_null_": True}},
    {"end_time": {"before_": LATER}},
    {"expected_start_time": {"after_": LATER}},
    {"expected_start_time": {"before_": EARLIER}},
    {"next_scheduled_start_time": {"after_": EARLIER}},
    {"parent_flow_run_id": {"any_": [OTHER]}},
    {"parent_flow_run_id": {"is_null_": True}},
    {"parent_task_run_id": {"any_": [PARENT]}},
    {"parent_task_run_id": {"any_": [CALLER]}},
    {"name": {"any_": ["x"]}, "tags": {"all_": ["us"]}, "operator": "or_"},
    {"name": {"any_": ["Blue-heron"]}, "tags": {"all_": ["us"]}},
]


@pytest.mark.parametrize("wanted", FITTING, ids=str)
def test_a_run_fits(wanted: dict[str, Any]) -> None:
    assert fits(FlowRunFilter.model_validate(wanted), a_run())


@pytest.mark.parametrize("wanted", OTHERS, ids=str)
def test_a_run_does_not_fit(wanted: dict[str, Any]) -> None:
    assert not fits(FlowRunFilter.model_validate(wanted), a_run())


def asked_for(asked: RunFilter, run: Run) -> bool:
    """What a control plane says of a run, see the contract."""
    names = (run.name.lower(), run.task_name.lower())
    return all(
        [
            not asked.run_ids or run.run_id in asked.run_ids,
            not asked.states or run.state in asked.states,
            not asked.name_contains or any(asked.name_contains.lower() in name for name in names),
            not asked.task_name or asked.task_name == run.task_name,
            set(asked.tags) <= set(run.tags),
            not asked.flow_run_id or asked.flow_run_id == run.flow_run_id,
            not asked.caller_run_id or asked.caller_run_id == run.caller_run_id,
            not asked.submitted_from_us or run.submitted_us >= asked.submitted_from_us,
            not asked.submitted_before_us or run.submitted_us < asked.submitted_before_us,
        ]
    )


@pytest.mark.parametrize("wanted", FITTING, ids=str)
def test_what_fits_is_asked_for(wanted: dict[str, Any]) -> None:
    assert asked_for(narrowed(RunKind.FLOW, FlowRunFilter.model_validate(wanted)), a_run())


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("kind", StateType)
def test_all_states_of_a_type_are_asked_for(state: RunState, kind: StateType) -> None:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[kind])))
    try:
        asked = list(narrowed(RunKind.FLOW, wanted).states)
    except Nothing:
        asked = []
    assert (int(state) in asked) == (shown_as(state)[0] is kind)


@pytest.mark.parametrize(
    "wanted",
    [
        {"id": {"any_": []}},
        {"name": {"any_": []}},
        {"state": {"type": {"any_": []}}},
        {"state": {"type": {"any_": ["PAUSED"]}}},
        {"parent_flow_run_id": {"any_": []}},
    ],
    ids=str,
)
def test_what_nothing_fits_is_not_asked_for(wanted: dict[str, Any]) -> None:
    with pytest.raises(Nothing):
        narrowed(RunKind.FLOW, FlowRunFilter.model_validate(wanted))


def test_as_much_as_possible_is_left_to_the_control_plane() -> None:
    wanted = FlowRunFilter.model_validate(
        {
            "id": {"any_": [ID]},
            "name": {"like_": "heron"},
            "tags": {"all_": ["eu"]},
            "state": {"type": {"any_": ["FAILED"]}},
            "parent_flow_run_id": {"any_": [PARENT]},
            "parent_task_run_id": {"any_": [CALLER]},
            "expected_start_time": {"after_": EARLIER, "before_": LATER},
        }
    )
    asked = narrowed(RunKind.FLOW, wanted, FlowFilter.model_validate({"name": {"any_": ["etl"]}}))
    assert asked == RunFilter(
        kind=int(RunKind.FLOW),  # type: ignore[arg-type]  # numerically equal
        run_ids=[ID.bytes],
        name_contains="heron",
        tags=["eu"],
        states=[int(RunState.FAILED)],  # type: ignore[list-item]  # as above
        flow_run_id=PARENT.bytes,
        caller_run_id=CALLER.bytes,
        submitted_from_us=microseconds(EARLIER),
        submitted_before_us=microseconds(LATER) + 1,
        task_name="etl",
    )


@pytest.mark.parametrize("name", ["ÄPFEL", "a\0b", "x" * 1_025])
def test_names_that_databases_read_otherwise_are_not_asked_for(name: str) -> None:
    asked = narrowed(RunKind.FLOW, FlowRunFilter.model_validate({"name": {"like_": name}}))
    assert asked.name_contains == ""


def test_more_ids_than_a_request_takes_are_refused() -> None:
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(int=n) for n in range(1_001)]))
    with pytest.raises(SearchTooWide, match=r"FlowRunFilter\.id\.any_ has 1,001 ids; at most 1,000"):
        narrowed(RunKind.FLOW, wanted)


def test_an_id_that_is_wanted_twice_is_asked_for_once() -> None:
    asked = narrowed(RunKind.FLOW, FlowRunFilter(id=FlowRunFilterId(any_=[ID, OTHER] * 1_000)))
    assert list(asked.run_ids) == [ID.bytes, OTHER.bytes]


def test_flows_are_meant_by_id_and_name() -> None:
    for said, expected in [
        ({"id": {"any_": [flow_id_of("etl")]}}, True),
        ({"id": {"any_": [ID]}}, False),
        ({"name": {"like_": "ET"}}, True),
        ({"id": {"any_": [ID]}, "name": {"any_": ["etl"]}, "operator": "or_"}, True),
    ]:
        test = flow_test(FlowFilter.model_validate(said))
        assert test is not None
        assert test(a_run()) is expected


def test_filters_that_say_nothing_cost_nothing() -> None:
    assert run_test(FlowRunFilter()) is None
    assert run_test(TaskRunFilter.model_validate({"tags": {}, "state": {"type": {}}})) is None
    assert all_of([None, None]) is None


def test_ids_of_flows_stay_what_they_are() -> None:
    """Programs keep them."""
    assert str(flow_id_of("outer")) == "6107c01a-223c-5d17-b5e6-b84dd8223d97"


@pytest.mark.parametrize(
    ("kind", "field", "why"),
    [
        (FlowRunFilter, "deployment_id", "deployments and schedules are not in this release"),
        (FlowRunFilter, "work_queue_name", "there are no work pools"),
        (FlowRunFilter, "flow_version", "each flow run has its flow_version"),
        (FlowRunFilter, "idempotency_key", "idempotency keys are not in this release"),
        (FlowFilter, "tags", "flows have no tags"),
        (FlowFilter, "deployment", "deployments and schedules are not in this release"),
        (LogFilter, "text", "not searched here"),
        (FlowRunFilter, "nmae", "Extra inputs are not permitted"),
    ],
)
def test_a_field_that_nothing_can_answer_is_refused_by_name(kind: Any, field: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        kind(**{field: {"any_": ["x"]}})
    assert field in str(refused.value)


def test_an_absent_field_that_says_nothing_is_no_error() -> None:
    absent: dict[str, Any] = {"deployment_id": None}
    assert FlowRunFilter(**absent) == FlowRunFilter()


def test_a_time_without_a_zone_is_local() -> None:
    wanted = FlowRunFilter.model_validate({"start_time": {"after_": datetime(2026, 1, 1)}})
    assert wanted.start_time is not None
    assert wanted.start_time.after_ == datetime(2026, 1, 1).astimezone()


def test_a_combination_by_or_is_not_asked_for_by_one_part() -> None:
    either = FlowRunFilterParentFlowRunId.model_validate(
        {"any_": [OTHER], "is_null_": True, "operator": "or_"}
    )
    assert narrowed(RunKind.FLOW, FlowRunFilter(parent_flow_run_id=either)).flow_run_id == b""
