"""What clients are given, made from messages."""

import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from taskyard import State
from taskyard._data.runs.tracking import tracking_id
from taskyard.client.reading.schemas_of import flow_run_schema, task_run_schema
from taskyard.client.schemas.objects import FlowRun, TaskRun
from taskyard.exceptions import MissingResult
from taskyard_api.v1.common_pb2 import Payload
from taskyard_api.v1.run_service_pb2 import Run, Upstream
from taskyard_api.v1.template_pb2 import RetryPolicy, RunTemplate
from taskyard_contract.encodings import PICKLE
from taskyard_contract.states import RunKind, RunState, UpstreamKind

ID, FLOW_RUN, CALLER = (UUID(int=number) for number in (1, 2, 3))
SECOND = 1_000_000


def no_reading(run: Run) -> Run:
    raise AssertionError("nobody asked for the result")


def decode(payload: Payload) -> Any:
    return pickle.loads(payload.data)


def a_run(kind: RunKind, **fields: Any) -> Run:
    usual: dict[str, Any] = {"run_id": ID.bytes, "kind": int(kind), "name": "one", "task_name": "etl"}
    return Run(**{**usual, "state": int(RunState.PENDING), "attempt": 1, "submitted_us": SECOND, **fields})


def flow_run(**fields: Any) -> FlowRun:
    return flow_run_schema(a_run(RunKind.FLOW, **fields), decode, no_reading)


def task_run(**fields: Any) -> TaskRun:
    return task_run_schema(a_run(RunKind.TASK, **fields), decode, no_reading)


def test_a_run_that_has_ended() -> None:
    template = RunTemplate(version="7", retry=RetryPolicy(max_retries=2, delays_ms=[500, 1_000]))
    args = Payload(encoding=PICKLE, data=pickle.dumps(((), {"n": 1, "when": datetime(2020, 1, 1)})))
    ended = flow_run(
        state=int(RunState.COMPLETED),
        attempt=2,
        started_us=2 * SECOND,
        ended_us=5 * SECOND,
        template=template,
        args=args,
    )
    assert (ended.run_count, ended.flow_version, ended.parameters["n"]) == (2, "7", 1)
    assert ended.parameters["when"] == "2020-01-01 00:00:00"
    assert ended.total_run_time == ended.estimated_run_time == timedelta(seconds=3)
    assert ended.estimated_start_time_delta == timedelta(seconds=1)
    assert (ended.empirical_policy.retries, ended.empirical_policy.retry_delay) == (2, [0.5, 1.0])
    assert ended.start_time == datetime.fromtimestamp(2, UTC)


def test_attempts_that_have_not_begun_are_not_counted() -> None:
    assert task_run().run_count == 0
    assert task_run(state=int(RunState.RUNNING), started_us=SECOND).run_count == 1
    assert task_run(state=int(RunState.AWAITING_RETRY), attempt=2, started_us=SECOND).run_count == 1
    assert task_run(state=int(RunState.NOT_READY), ended_us=SECOND).run_count == 0


def test_the_time_of_a_run_that_is_executed_grows() -> None:
    now = datetime.now(UTC) - timedelta(hours=1)
    running = task_run(state=int(RunState.RUNNING), started_us=int(now.timestamp() * SECOND))
    assert running.total_run_time == timedelta(0)
    assert timedelta(hours=1) <= running.estimated_run_time < timedelta(hours=2)


def test_who_called_it() -> None:
    by_flow = flow_run(flow_run_id=FLOW_RUN.bytes, caller_run_id=FLOW_RUN.bytes)
    assert (by_flow.parent_flow_run_id, by_flow.parent_task_run_id) == (
        FLOW_RUN,
        UUID(bytes=tracking_id(by_flow.id.bytes)),
    )
    by_task = task_run(flow_run_id=FLOW_RUN.bytes, caller_run_id=CALLER.bytes)
    assert (by_task.flow_run_id, by_task.parent_task_run_id) == (FLOW_RUN, CALLER)
    assert (task_run().flow_run_id, task_run().parent_task_run_id) == (None, None)


def test_what_it_depends_on() -> None:
    kinds = [UpstreamKind.DATA, UpstreamKind.ORDER, UpstreamKind.DATA_OR_FAILURE]
    upstream = [
        Upstream(run_id=UUID(int=number).bytes, kind=int(kind))  # type: ignore[arg-type]  # numerically equal
        for number, kind in enumerate(kinds)
    ]
    inputs = task_run(upstream=upstream).task_inputs
    assert {name: [each.id.int for each in ids] for name, ids in inputs.items()} == {
        "arguments": [0, 2],
        "wait_for": [1],
    }


def test_a_value_is_read_when_it_is_asked_for_and_once() -> None:
    asked: list[bytes] = []

    def read(run: Run) -> Run:
        asked.append(run.run_id)
        return Run(state=run.state, result=Payload(encoding=PICKLE, data=pickle.dumps([1])))

    run = task_run_schema(a_run(RunKind.TASK, state=int(RunState.COMPLETED)), decode, read)
    assert asked == []
    assert run.state.result() == run.state.result() == [1]
    assert asked == [ID.bytes]


def test_a_run_without_a_value_says_so() -> None:
    run = flow_run_schema(a_run(RunKind.FLOW, state=int(RunState.COMPLETED)), decode, lambda run: run)
    assert run.state.data is None
    with pytest.raises(MissingResult):
        run.state.result()


@pytest.mark.parametrize("run", [flow_run(), task_run(flow_run_id=FLOW_RUN.bytes, due_us=SECOND)])
def test_a_run_becomes_a_document_and_comes_back(run: FlowRun | TaskRun) -> None:
    document = run.model_dump(mode="json")
    assert json.loads(run.model_dump_json()) == document
    assert document["state"]["type"] == document["state_type"] == "PENDING"
    again = type(run).model_validate(document)
    assert again.model_dump() == run.model_dump()
    assert isinstance(again.state, State)
    assert again.state.state_details.flow_run_id == (ID if isinstance(run, FlowRun) else FLOW_RUN)


def test_schemas_need_no_network() -> None:
    script = (
        "import sys; from taskyard.client.schemas import filters, objects, sorting;"
        "print([m for m in ('grpc', 'asyncio', 'taskyard._prefect_names') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
