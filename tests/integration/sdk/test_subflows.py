"""Flows that flows call: the task run that stands for each, and what is passed from run to run."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.plane_and_agent import Plane

from taskyard import Cancelled, State, allow_failure, flow, get_client, runtime, task
from taskyard.client import SyncTaskyardClient
from taskyard.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentTaskRunId,
    LogFilter,
    LogFilterTaskRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterId,
    TaskRunFilterName,
    TaskRunFilterState,
    TaskRunFilterStateType,
    TaskRunFilterSubFlowRuns,
)
from taskyard.client.schemas.objects import FlowRun, FlowRunResult, TaskRun, TaskRunResult
from taskyard.client.schemas.sorting import TaskRunSort
from taskyard.exceptions import ObjectNotFound, UnfinishedRun, UpstreamTaskError
from taskyard.states import StateType
from taskyard.task_runners import ThreadPoolTaskRunner

Runner = dict[str, Any]


@pytest.fixture(params=["agents", "threads"])
def runner(plane: Plane, request: pytest.FixtureRequest) -> Runner:
    """What makes a flow's tasks run there."""
    return {"task_runner": ThreadPoolTaskRunner(max_workers=2)} if request.param == "threads" else {}


@pytest.fixture
def client(plane: Plane) -> Iterator[SyncTaskyardClient]:
    """The blocking client."""
    with get_client(sync_client=True) as blocking:
        yield blocking


@task
def number(value: int = 1_000) -> int:
    return value


@task
def listed(value: Any) -> list[Any]:
    return [value, {"some": "text that is long enough"}]


@task
def fails() -> None:
    raise LookupError("nothing there")


@task
def waits(gate: str) -> None:
    Path(gate).with_suffix(".began").touch()
    while not Path(gate).exists():
        time.sleep(0.01)


def run_id_of(state: State[Any]) -> UUID:
    found = state.state_details.flow_run_id
    assert found is not None
    return found


def inside(client: SyncTaskyardClient, state: State[Any]) -> list[TaskRun]:
    """Return the task runs of a flow run, oldest first."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run_id_of(state)]))
    return client.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.EXPECTED_START_TIME_ASC)


def subflow_of(client: SyncTaskyardClient, run: TaskRun) -> FlowRun:
    """Return the flow run that a task run stands for."""
    found = run.state.state_details.child_flow_run_id
    assert found is not None
    return client.read_flow_run(found)


def called_in(client: SyncTaskyardClient, run: TaskRun) -> list[TaskRun]:
    """Return the task runs of a subflow, by the task run that stands for it."""
    wanted = TaskRunFilterFlowRunId(any_=[subflow_of(client, run).id])
    return client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=wanted))


def by_name(client: SyncTaskyardClient, state: State[Any]) -> dict[str, TaskRun]:
    return {run.name: run for run in inside(client, state)}


def inputs(run: TaskRun) -> dict[str, list[UUID]]:
    return {name: [each.id for each in found] for name, found in run.task_inputs.items()}


def test_row_63_a_subflow_has_a_task_run_in_its_parent_that_mirrors_it(
    runner: Runner, client: SyncTaskyardClient
) -> None:
    @flow(name="child", **runner)
    def child(value: int) -> int:
        return number(value) + 1

    @flow(**runner)
    def parent() -> int:
        return child(1) + child(2)

    state = parent(return_state=True)
    assert state.result() == 5
    first, second = inside(client, state)
    assert (first.name, second.name) == ("child-0", "child-1")
    assert (first.task_name, first.task_key) == ("child", second.task_key)
    assert first.flow_run_id == run_id_of(state)
    assert (first.state_name, first.state.result(), second.state.result()) == ("Completed", 2, 3)
    details = first.state.state_details
    assert (details.flow_run_id, details.task_run_id) == (first.flow_run_id, first.id)
    assert details.child_flow_run_id is not None
    subflow = client.read_flow_run(details.child_flow_run_id)
    assert (subflow.parent_task_run_id, subflow.parent_flow_run_id) == (first.id, run_id_of(state))
    assert (subflow.state_name, subflow.start_time, subflow.end_time) == (
        first.state_name,
        first.start_time,
        first.end_time,
    )
    assert client.read_task_run(first.id).model_dump() == first.model_dump()
    assert client.read_flow_run(run_id_of(state)).parent_task_run_id is None


def test_row_63_the_task_run_of_a_subflow_has_its_history(runner: Runner, client: SyncTaskyardClient) -> None:
    @flow(retries=1, **runner)
    def child() -> int:
        if runtime.flow_run.run_count == 1:
            raise LookupError("once more")
        return 7

    @flow(**runner)
    def parent() -> int:
        return child()

    (run,) = inside(client, parent(return_state=True))
    states = client.read_task_run_states(run.id)
    details = run.state.state_details
    assert [each.name for each in states] == [
        each.name for each in client.read_flow_run_states(details.child_flow_run_id or "")
    ]
    assert states[-1].result() == 7
    assert {each.state_details.child_flow_run_id for each in states} == {details.child_flow_run_id}
    assert {each.state_details.task_run_id for each in states} == {run.id}
    assert run.run_count == 2


def test_row_63_task_runs_of_subflows_are_found_by_everything(
    runner: Runner, client: SyncTaskyardClient
) -> None:
    @flow(name="found child", **runner)
    def child(error: bool) -> int:
        if error:
            raise LookupError("it was told to")
        return number(1)

    @flow(**runner)
    def parent() -> None:
        number(1)
        child(False)
        child(True, return_state=True)

    state = parent(return_state=True)
    _, good, bad = inside(client, state)
    of_parent = TaskRunFilterFlowRunId(any_=[run_id_of(state)])

    def names(**wanted: Any) -> list[str]:
        found = client.read_task_runs(
            task_run_filter=TaskRunFilter(**{"flow_run_id": of_parent, **wanted}), sort=TaskRunSort.NAME_ASC
        )
        return [run.name for run in found]

    assert names() == ["found child-0", "found child-1", "number-0"]
    assert names(subflow_runs=TaskRunFilterSubFlowRuns(exists_=True)) == ["found child-0", "found child-1"]
    assert names(subflow_runs=TaskRunFilterSubFlowRuns(exists_=False)) == ["number-0"]
    assert names(id=TaskRunFilterId(any_=[bad.id])) == [bad.name]
    assert names(name=TaskRunFilterName(any_=["found child-0"])) == [good.name]
    assert names(name=TaskRunFilterName(like_="CHILD-1")) == [bad.name]
    failed = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.FAILED]))
    assert names(state=failed) == [bad.name]
    mine = FlowRunFilter(parent_task_run_id=FlowRunFilterParentTaskRunId(any_=[good.id]))
    (subflow,) = client.read_flow_runs(flow_run_filter=mine)
    assert subflow.id == good.state.state_details.child_flow_run_id
    (found,) = client.read_flow_runs(task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=[bad.id])))
    assert found.id == run_id_of(state)
    newest = client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=of_parent), limit=1, offset=1)
    assert [run.name for run in newest] == [good.name]
    assert client.read_logs(LogFilter(task_run_id=LogFilterTaskRunId(any_=[good.id]))) == []


def test_row_63_only_subflows_have_a_task_run(runner: Runner, client: SyncTaskyardClient) -> None:
    @flow(**runner)
    def child() -> None:
        pass

    @flow(**runner)
    def parent() -> None:
        child()

    state = parent(return_state=True)
    (run,) = inside(client, state)
    of_the_parent = UUID(int=run_id_of(state).int ^ (0xF << 76))  # version 8 instead of 7
    assert of_the_parent.version == 8
    with pytest.raises(ObjectNotFound, match="is no subflow"):
        client.read_task_run(of_the_parent)
    with pytest.raises(ObjectNotFound):
        client.read_flow_run(run.id)


def test_row_63_a_subflow_in_a_task_belongs_to_the_flow_and_to_the_task(
    runner: Runner, client: SyncTaskyardClient
) -> None:
    @flow(name="in a task")
    def child() -> str:
        return str(runtime.flow_run.id)

    @task
    def calls() -> str:
        return child()

    @flow(**runner)
    def parent() -> str:
        return calls()

    state = parent(return_state=True)
    runs = by_name(client, state)
    tracking, caller = runs["in a task-0"], runs["calls-0"]
    assert (tracking.parent_task_run_id, tracking.flow_run_id) == (caller.id, run_id_of(state))
    assert str(tracking.state.state_details.child_flow_run_id) == state.result()


def test_row_63_subflows_decide_once_how_a_flow_of_all_runs_ends(runner: Runner) -> None:
    @flow(**runner)
    def child() -> None:
        raise LookupError("nothing there")

    @flow(final_state="all", **runner)
    def parent() -> None:
        number(1)
        child(return_state=True)

    @flow(**runner)
    def forgiving() -> None:
        child(return_state=True)

    assert parent(return_state=True).message == "1/2 states failed."
    assert forgiving(return_state=True).is_completed()


def test_row_63_cancelling_its_task_run_or_its_parent_ends_a_subflow(
    runner: Runner, client: SyncTaskyardClient, tmp_path: Path
) -> None:
    def cancelled(gate: Path, asks: Callable[[str, str], Any]) -> tuple[State[Any], State[Any]]:
        ids: list[str] = []
        ended: list[State[Any]] = []

        @flow(**runner)
        def child() -> None:
            ids.append(runtime.flow_run.id)
            waits.submit(str(gate)).result()

        @flow(**runner)
        def parent() -> None:
            ids.append(runtime.flow_run.id)
            child(return_state=True)

        thread = threading.Thread(target=lambda: ended.append(parent(return_state=True)))
        thread.start()
        deadline = time.monotonic() + 30
        while not gate.with_suffix(".began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        asks(*ids)
        thread.join(30)
        assert not thread.is_alive()
        return ended[0], client.read_flow_run(ids[1]).state

    def ends_task_run(_: str, child: str) -> None:
        tracking = client.read_flow_run(child).parent_task_run_id
        assert tracking is not None
        answer = client.set_task_run_state(tracking, Cancelled())
        assert answer.state.state_details.child_flow_run_id == UUID(child)

    def ends_parent(parent: str, _: str) -> None:
        client.set_flow_run_state(parent, Cancelled())

    parent, child = cancelled(tmp_path / "one", ends_task_run)
    assert (parent.name, child.name) == ("Completed", "Cancelled")
    parent, child = cancelled(tmp_path / "two", ends_parent)
    assert (parent.name, child.name) == ("Cancelled", "Cancelled")


def test_b10_futures_and_waits_of_a_subflow_are_recorded(runner: Runner, client: SyncTaskyardClient) -> None:
    seen: list[Any] = []

    @flow(name="edges", **runner)
    def child(values: Any, error: Any = None) -> None:
        seen.append((values, error))

    @flow(**runner)
    def parent() -> None:
        first, second, third = number.submit(1), number.submit(2), fails.submit()
        child({"a": [first]}, wait_for=[second])
        child(number.submit(3, return_state=True), error=allow_failure(third))

    state = parent(return_state=True)
    assert seen[0] == ({"a": [1]}, None)
    assert (seen[1][0], str(seen[1][1])) == (3, "nothing there")
    runs = by_name(client, state)
    assert inputs(runs["edges-0"]) == {"arguments": [runs["number-0"].id], "wait_for": [runs["number-1"].id]}
    assert inputs(runs["edges-1"]) == {"arguments": [runs["number-2"].id, runs["fails-0"].id]}


@pytest.mark.parametrize("how", ["argument", "wait_for", "state"])
def test_b7_a_subflow_of_a_failed_run_never_starts(
    runner: Runner, client: SyncTaskyardClient, how: str
) -> None:
    started: list[str] = []

    def call(child: Any, **options: Any) -> Any:
        future = fails.submit()
        if how == "argument":
            return child([future], **options)
        return child(future.wait(), **options) if how == "state" else child(0, wait_for=[future], **options)

    @flow(name="never", retries=2, **runner)
    def child(_: Any) -> None:
        started.append("child")

    @flow(**runner)
    def parent() -> State[Any]:
        with pytest.raises(UpstreamTaskError, match="did not reach a 'COMPLETED' state") as raised:
            call(child)
        assert isinstance(raised.value, UnfinishedRun)
        found: State[Any] = call(child, return_state=True)
        assert (found.type, found.name) == (StateType.PENDING, "NotReady")
        return number(1, return_state=True)

    state = parent(return_state=True)
    assert state.is_completed(), "that does not make its parent fail"
    assert started == []
    runs = by_name(client, state)
    for place in (0, 1):
        run = runs[f"never-{place}"]
        assert (run.state_name, run.start_time) == ("NotReady", None)
        assert "did not reach a 'COMPLETED' state" in (run.state.message or "")
        assert inputs(run) == {"wait_for" if how == "wait_for" else "arguments": [runs[f"fails-{place}"].id]}


def test_b7_an_asynchronous_subflow_of_a_failed_run_never_starts(
    runner: Runner, client: SyncTaskyardClient
) -> None:
    @flow(name="never", **runner)
    async def child(_: Any) -> None:
        raise AssertionError("it started")

    @flow(**runner)
    async def parent() -> str:
        with pytest.raises(UpstreamTaskError):
            await child(fails.submit())
        return str((await child(0, wait_for=[fails.submit()], return_state=True)).name)

    state = asyncio.run(parent(return_state=True))
    assert state.result() == "NotReady"
    assert [run.state_name for run in inside(client, state) if run.task_name == "never"] == ["NotReady"] * 2


def test_row_63_flows_of_both_kinds_call_each_other(runner: Runner, client: SyncTaskyardClient) -> None:
    @flow(name="blocking", **runner)
    def blocking(value: int) -> int:
        return number(value)

    @flow(name="inner", flow_run_name="inner {value}", **runner)
    async def inner(value: int) -> int:
        return blocking(value)

    @flow(**runner)
    async def gathering() -> list[int]:
        return list(await asyncio.gather(inner(1), inner(number.submit(2))))

    @flow(**runner)
    def parent() -> list[int]:
        return asyncio.run(gathering())

    state = parent(return_state=True)
    assert state.result() == [1, 2]
    (outer,) = inside(client, state)
    runs = called_in(client, outer)
    assert sorted(run.task_name for run in runs) == ["inner", "inner", "number"]
    subflows = [run for run in runs if run.task_name == "inner"]
    assert {subflow_of(client, run).name for run in subflows} == {"inner 1", "inner 2"}
    assert [run.task_name for each in subflows for run in called_in(client, each)] == ["blocking"] * 2


def test_row_57_a_value_that_is_passed_on_links_the_runs(runner: Runner, client: SyncTaskyardClient) -> None:
    @flow(name="child", **runner)
    def child(_: Any) -> dict[str, int]:
        return {"five": 5}

    @flow(**runner)
    def parent() -> None:
        first = listed(1)
        second = listed.submit(first).result()
        third = listed(second[1])
        listed([third])
        listed(value=child(third))
        listed.map([first, second]).wait()
        listed(number(10**6))

    state = parent(return_state=True)
    runs = by_name(client, state)
    assert [inputs(runs[f"listed-{place}"]) for place in range(4)] == [
        {},
        {"arguments": [runs["listed-0"].id]},
        {"arguments": [runs["listed-1"].id]},
        {"arguments": [runs["listed-2"].id]},
    ]
    assert inputs(runs["child-0"]) == {"arguments": [runs["listed-2"].id]}
    child_id = runs["child-0"].state.state_details.child_flow_run_id
    assert child_id is not None
    assert runs["listed-4"].task_inputs == {"arguments": [FlowRunResult(id=child_id)]}
    both = [TaskRunResult(id=runs[f"listed-{place}"].id) for place in (0, 1)]
    assert runs["listed-5"].task_inputs == runs["listed-6"].task_inputs == {"arguments": both}
    assert inputs(runs["listed-7"]) == {"arguments": [runs["number-0"].id]}


def test_row_57_what_may_be_anywhere_by_chance_links_nothing(
    runner: Runner, client: SyncTaskyardClient
) -> None:
    @task
    def given(value: Any) -> Any:
        return value

    @flow(**runner)
    def parent() -> None:
        for value in (None, True, 256, -5, "short", (), b""):
            given(given(value))

    runs = inside(client, parent(return_state=True))
    assert len(runs) == 14
    assert [run.task_inputs for run in runs] == [{}] * 14


def test_row_65_states_of_futures_say_where_they_belong(runner: Runner) -> None:
    @flow(**runner)
    def parent() -> list[Any]:
        mine = UUID(str(runtime.flow_run.id))
        future, failed = number.submit(), fails.submit()
        states = [future.wait(), future.state, failed.wait(), number(return_state=True)]
        details = [state.state_details for state in states if state is not None]
        assert [each.flow_run_id for each in details] == [mine] * 4
        assert [each.task_run_id for each in details[:3]] == [future.task_run_id] * 2 + [failed.task_run_id]
        return []

    parent()
