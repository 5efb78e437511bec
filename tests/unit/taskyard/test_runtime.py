from datetime import UTC, datetime
from uuid import UUID

import pytest

from taskyard import runtime
from taskyard.context import FlowRun, FlowRunContext, TaskRun, TaskRunContext

TASK_ID, FLOW_ID = b"t" * 16, b"f" * 16


def test_row_68_outside_of_runs_everything_is_empty() -> None:
    task_run, flow_run = runtime.task_run, runtime.flow_run
    assert (task_run.id, task_run.name, task_run.tags, task_run.parameters, task_run.run_count) == (
        None,
        None,
        [],
        {},
        0,
    )
    assert (flow_run.id, flow_run.name, flow_run.flow_name, flow_run.tags, flow_run.parameters) == (
        None,
        None,
        None,
        [],
        {},
    )


def test_row_68_attributes_of_the_current_task_run() -> None:
    run = TaskRun(TASK_ID, "f-0", task_name="f", flow_run_id=FLOW_ID, flow_run_name="brave-otter", tags=["a"])
    with TaskRunContext(None, run, {"x": 1}):
        task_run = runtime.task_run
        assert task_run.id == str(UUID(bytes=TASK_ID))
        assert (task_run.name, task_run.task_name, task_run.tags) == ("f-0", "f", ["a"])
        assert (task_run.parameters, task_run.run_count, task_run.dynamic_key) == ({"x": 1}, 1, "0")
        assert runtime.flow_run.id == str(UUID(bytes=FLOW_ID))
        assert runtime.flow_run.name == "brave-otter"


def test_a_task_outside_flows_has_no_flow_run() -> None:
    with TaskRunContext(None, TaskRun(TASK_ID, "f-0")):
        assert (runtime.flow_run.id, runtime.flow_run.name) == (None, None)


def test_row_68_attributes_of_the_current_flow_run() -> None:
    run = FlowRun(
        FLOW_ID, "brave-otter", flow_name="trip", flow_version="2", tags=["a"], parent_run_id=TASK_ID
    )
    with FlowRunContext(None, run, {"x": 1}):
        flow_run = runtime.flow_run
        assert flow_run.id == str(UUID(bytes=FLOW_ID))
        assert (flow_run.name, flow_run.flow_name, flow_run.flow_version) == ("brave-otter", "trip", "2")
        assert (flow_run.tags, flow_run.parameters, flow_run.run_count) == (["a"], {"x": 1}, 1)
        assert flow_run.parent_run_id == str(UUID(bytes=TASK_ID))


def test_unknown_attributes_name_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'colour'; it has id, name"):
        runtime.task_run.colour  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'colour'; it has id, name"):
        runtime.flow_run.colour  # noqa: B018


def test_attributes_are_listed() -> None:
    assert "run_count" in dir(runtime.task_run)
    assert "flow_name" in dir(runtime.flow_run)


def test_row_68_a_flow_knows_the_flow_run_around_it() -> None:
    inner = FlowRun(FLOW_ID, "inner")
    with FlowRunContext(None, FlowRun(b"o" * 16, "outer")):
        assert runtime.flow_run.parent_flow_run_id is None
        with FlowRunContext(None, inner):
            assert runtime.flow_run.parent_flow_run_id == str(UUID(bytes=b"o" * 16))
    with TaskRunContext(None, TaskRun(TASK_ID, "f-0", flow_run_id=b"o" * 16)), FlowRunContext(None, inner):
        assert runtime.flow_run.parent_flow_run_id == str(UUID(bytes=b"o" * 16))
    with TaskRunContext(None, TaskRun(TASK_ID, "f-0")), FlowRunContext(None, inner):
        assert runtime.flow_run.parent_flow_run_id is None


def test_row_68_runs_without_a_schedule_were_to_start_when_they_did() -> None:
    run = FlowRun(FLOW_ID, "brave-otter")
    with FlowRunContext(None, run):
        assert runtime.flow_run.scheduled_start_time == run.start_time
    before = datetime.now(UTC)
    assert before <= runtime.flow_run.scheduled_start_time <= datetime.now(UTC)
