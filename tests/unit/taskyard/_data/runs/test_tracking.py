"""Tracking runs are made of the record of their subflow (row 63)."""

from uuid import UUID

from taskyard._data.runs.recorded import from_run
from taskyard._data.runs.tracking import (
    as_tracking_run,
    is_subflow,
    parent_task_run,
    tracked_flow_run,
    tracking_id,
)
from taskyard.states import StateType
from taskyard_api.v1.run_service_pb2 import Run
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.ids import are_run_ids
from taskyard_contract.states import RunKind, RunState

PARENT, CALLER = new_ids(2)


def a_run(kind: RunKind = RunKind.FLOW, **fields: object) -> Run:
    return Run(
        run_id=new_id(),
        kind=int(kind),  # type: ignore[arg-type]  # numerically equal
        name="brisk-heron",
        task_name="child",
        ordinal=3,
        state=int(RunState.FAILED),  # type: ignore[arg-type]
        attempt=1,
        **fields,  # type: ignore[arg-type]
    )


def test_row_63_the_id_of_a_tracking_run_says_its_subflow_and_the_other_way_round() -> None:
    for run_id in new_ids(1_000):
        tracking = tracking_id(run_id)
        assert tracked_flow_run(tracking) == run_id
        assert tracking_id(tracked_flow_run(tracking)) == tracking
        assert UUID(bytes=tracking).version == 8
        assert not are_run_ids(tracking), "no run that is submitted may have it"
        assert tracked_flow_run(run_id) == tracked_flow_run(b"") == tracked_flow_run(b"short") == b""


def test_row_63_it_is_a_task_run_in_the_state_of_its_subflow() -> None:
    run = a_run(flow_run_id=PARENT, caller_run_id=CALLER)
    subflow, before = run.run_id, from_run(run, lambda _: None)
    assert is_subflow(run)
    tracking = as_tracking_run(run)
    assert (int(tracking.kind), tracking.name, tracking.task_name) == (RunKind.TASK, "child-3", "child")
    assert (tracking.flow_run_id, tracking.caller_run_id) == (PARENT, CALLER)
    state = from_run(tracking, lambda _: None)
    assert (state.type, state.name, state.message) == (before.type, before.name, before.message)
    assert state.type is StateType.FAILED
    details = state.state_details
    assert details.child_flow_run_id == before.state_details.flow_run_id == UUID(bytes=subflow)
    assert (details.flow_run_id, details.task_run_id) == (
        UUID(bytes=PARENT),
        UUID(bytes=tracking_id(subflow)),
    )


def test_row_63_what_a_flow_run_belongs_to() -> None:
    nested, alone = a_run(flow_run_id=PARENT, caller_run_id=PARENT), a_run()
    assert parent_task_run(nested) == tracking_id(nested.run_id)
    assert parent_task_run(alone) == b""
    assert parent_task_run(a_run(caller_run_id=CALLER)) == CALLER, "a task outside of flows called it"
    assert not is_subflow(alone)
    assert not is_subflow(a_run(RunKind.TASK, flow_run_id=PARENT))
