"""Clients see what programs have done: a real control plane, a real agent, both clients."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from support.plane_and_agent import Plane

from taskyard import Cancelled, Cancelling, State, flow, get_client, get_run_logger, runtime, tags, task
from taskyard.client import SyncTaskyardClient
from taskyard.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
    LogFilterTaskRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterId,
    TaskRunFilterName,
    TaskRunFilterState,
    TaskRunFilterStateName,
    TaskRunFilterStateType,
)
from taskyard.client.schemas.objects import FlowRun, TaskRun
from taskyard.client.schemas.responses import SetStateStatus
from taskyard.client.schemas.sorting import FlowRunSort, LogSort, TaskRunSort
from taskyard.exceptions import ConnectionFailed, ObjectNotFound
from taskyard.states import StateType
from taskyard.task_runners import ThreadPoolTaskRunner


@task
def add_one(number: int) -> int:
    get_run_logger().info("adds to %s", number)
    return number + 1


@task
def fail(number: int) -> None:
    raise LookupError(f"nothing at {number}")


@task
def who_owns(run_id: str) -> str:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).flow_name


@task
def waits(gate: str) -> None:
    Path(gate).with_suffix(".began").touch()
    while not Path(gate).exists():
        time.sleep(0.01)


class Made(NamedTuple):
    """The flow runs of a test."""

    name: str
    outer: UUID
    inner: UUID


@pytest.fixture(params=["agents", "threads"])
def made(plane: Plane, request: pytest.FixtureRequest) -> Made:
    """A flow run with a flow run, three task runs that complete and one that fails."""
    name = f"etl-{uuid4().hex[:8]}"
    runner: Any = {"task_runner": ThreadPoolTaskRunner(max_workers=2)} if request.param == "threads" else {}
    ids: list[str] = []

    @flow(name=f"{name}-inner", **runner)
    def inner() -> int:
        ids.append(runtime.flow_run.id)
        get_run_logger().info("inside")
        return add_one(5)

    @flow(name=name, version="7", retries=1, retry_delay_seconds=2, **runner)
    def outer(number: int, tables: list[str]) -> int:
        ids.append(runtime.flow_run.id)
        get_run_logger().warning("outside")
        first = add_one.submit(number)
        second = add_one.submit(first, wait_for=[first])
        fail.submit(number).wait()
        return second.result() + inner()

    with tags(name, "nightly"):
        assert outer(1, tables=["a"]) == 9
    return Made(name, UUID(ids[0]), UUID(ids[1]))


@pytest.fixture
def client(plane: Plane) -> Iterator[SyncTaskyardClient]:
    """The blocking client."""
    with get_client(sync_client=True) as blocking:
        yield blocking


def of_flow_run(flow_run_id: UUID) -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))


def names(runs: list[TaskRun]) -> list[str]:
    return [run.name for run in runs]


def test_a_flow_run_is_read_with_everything(made: Made, client: SyncTaskyardClient) -> None:
    run = client.read_flow_run(made.outer)
    assert (run.id, run.flow_name, run.flow_version) == (made.outer, made.name, "7")
    assert run.parameters == {"number": 1, "tables": ["a"]}
    assert set(run.tags) == {made.name, "nightly"}
    assert (run.state_type, run.state_name, run.run_count) == (StateType.COMPLETED, "Completed", 1)
    assert (run.empirical_policy.retries, run.empirical_policy.retry_delay) == (1, 2)
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.total_run_time == run.end_time - run.start_time
    assert run.state.result() == 9
    assert client.read_flow_run(str(made.inner)).parent_flow_run_id == made.outer


def test_task_runs_are_read_by_their_flow_run(made: Made, client: SyncTaskyardClient) -> None:
    wanted, order = of_flow_run(made.outer), TaskRunSort.EXPECTED_START_TIME_ASC
    runs = client.read_task_runs(flow_run_filter=wanted, sort=order)
    assert sorted(names(runs)) == ["add_one-0", "add_one-1", f"{made.name}-inner-0", "fail-0"]
    by_name = {run.name: run for run in runs}
    first, second = by_name["add_one-0"], by_name["add_one-1"]
    assert {name: [each.id for each in ids] for name, ids in second.task_inputs.items()} == {
        "arguments": [first.id]
    }
    assert (first.flow_run_id, first.task_name, first.run_count) == (made.outer, "add_one", 1)
    assert second.state.result() == 3
    assert client.read_task_run(second.id).model_dump() == second.model_dump()
    inside = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[made.inner]))
    assert names(client.read_task_runs(task_run_filter=inside)) == ["add_one-0"]
    of_flow = FlowFilter(name=FlowFilterName(like_=made.name.upper()))
    both = client.read_task_runs(flow_filter=of_flow)
    assert sorted(names(both)) == ["add_one-0", "add_one-0", "add_one-1", f"{made.name}-inner-0", "fail-0"]


def test_a_failed_run_of_a_list_has_its_exception(made: Made, client: SyncTaskyardClient) -> None:
    failed = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.FAILED])))
    (run,) = client.read_task_runs(flow_run_filter=of_flow_run(made.outer), task_run_filter=failed)
    with pytest.raises(LookupError, match="nothing at 1"):
        run.state.result()


def test_flow_runs_are_found_by_what_they_are(made: Made, client: SyncTaskyardClient) -> None:
    def found(flow_filter: FlowFilter | None = None, **parts: Any) -> list[UUID]:
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[made.name]), **parts)
        runs = client.read_flow_runs(flow_filter=flow_filter, flow_run_filter=wanted)
        return [run.id for run in runs]

    outer = client.read_flow_run(made.outer)
    completed, running = (
        FlowRunFilterState(type=FlowRunFilterStateType(any_=[kind]))
        for kind in (StateType.COMPLETED, StateType.RUNNING)
    )
    assert found() == [made.inner, made.outer]
    assert found(state=completed) == [made.inner, made.outer]
    assert found(state=running) == []
    assert found(FlowFilter(name=FlowFilterName(any_=[made.name]))) == [made.outer]
    assert found(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[made.outer])) == [made.inner]
    assert found(parent_flow_run_id=FlowRunFilterParentFlowRunId(is_null_=True)) == [made.outer]
    at = FlowRunFilterExpectedStartTime(after_=outer.expected_start_time, before_=outer.expected_start_time)
    assert found(expected_start_time=at) == [made.outer]
    assert found(id=FlowRunFilterId(any_=[made.outer, made.inner], not_any_=[made.inner])) == [made.outer]
    assert found(id=FlowRunFilterId(any_=[uuid4()])) == []


def test_flow_runs_are_found_by_their_task_runs(made: Made, client: SyncTaskyardClient) -> None:
    (task_run,) = client.read_task_runs(flow_run_filter=of_flow_run(made.inner))
    wanted = TaskRunFilter(id=TaskRunFilterId(any_=[task_run.id]))
    assert [run.id for run in client.read_flow_runs(task_run_filter=wanted)] == [made.inner]
    nobody = TaskRunFilter(name=TaskRunFilterName(any_=[uuid4().hex]))
    assert client.read_flow_runs(task_run_filter=nobody) == []


@pytest.mark.parametrize("sort", FlowRunSort)
def test_every_order_and_page_is_complete(made: Made, client: SyncTaskyardClient, sort: FlowRunSort) -> None:
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[made.name]))

    def page(limit: int, offset: int) -> list[UUID]:
        runs = client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=limit, offset=offset)
        return [run.id for run in runs]

    assert page(1, 0) + page(1, 1) == page(2, 0)
    assert set(page(9, 0)) == {made.outer, made.inner}
    assert page(9, 2) == []


def test_flows_are_known_by_their_runs(made: Made, client: SyncTaskyardClient) -> None:
    named = client.read_flow_by_name(made.name)
    assert client.read_flow(named.id) == named
    assert client.read_flow_run(made.outer).flow_id == named.id
    wanted = FlowFilter(name=FlowFilterName(like_=made.name))
    assert [each.name for each in client.read_flows(flow_filter=wanted)] == [made.name, f"{made.name}-inner"]
    assert [each.name for each in client.read_flows(flow_filter=wanted, limit=1, offset=1)] == [
        f"{made.name}-inner"
    ]
    assert client.read_flows(flow_run_filter=of_flow_run(made.outer)) == [named]


def test_states_are_read_in_order_and_the_last_has_the_value(made: Made, client: SyncTaskyardClient) -> None:
    states = client.read_flow_run_states(made.outer)
    assert [state.name for state in states][-2:] == ["Running", "Completed"]
    assert states[-1].result() == 9
    failed = TaskRunFilter(
        name=TaskRunFilterName(any_=["fail-0"]),
        state=TaskRunFilterState(name=TaskRunFilterStateName(any_=["Failed"])),
    )
    (run,) = client.read_task_runs(flow_run_filter=of_flow_run(made.outer), task_run_filter=failed)
    assert client.read_task_run_states(run.id)[-1].is_failed()


def test_logs_are_those_of_the_runs_that_are_meant(made: Made, client: SyncTaskyardClient) -> None:
    of_flow = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[made.outer]))
    logs = client.read_logs(of_flow)
    said = [log.message for log in logs]
    assert "outside" in said
    assert "adds to 1" in said
    assert "inside" not in said
    assert {log.flow_run_id for log in logs} == {made.outer}
    (outside,) = (log for log in logs if log.message == "outside")
    assert (outside.level, outside.task_run_id) == (logging.WARNING, None)
    (adds,) = (log for log in logs if log.message == "adds to 1")
    assert adds.task_run_id is not None
    by_task = LogFilter(task_run_id=LogFilterTaskRunId(any_=[adds.task_run_id]))
    assert client.read_logs(by_task) == [adds]
    warnings = LogFilter(flow_run_id=of_flow.flow_run_id, level=LogFilterLevel(ge_=logging.WARNING))
    assert all(log.level >= logging.WARNING for log in client.read_logs(warnings))
    assert outside in client.read_logs(warnings)
    backwards = client.read_logs(of_flow, sort=LogSort.TIMESTAMP_DESC)
    assert backwards[0].timestamp >= backwards[-1].timestamp
    assert client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[made.outer, made.outer]))) == logs
    assert client.read_logs(of_flow, limit=1, offset=1) == logs[1:2]
    assert client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[uuid4()]))) == []


def test_the_asynchronous_client_says_the_same(made: Made, client: SyncTaskyardClient) -> None:
    async def program() -> None:
        async with get_client() as waiting:
            wanted = of_flow_run(made.outer)
            runs, task_runs, logs = await asyncio.gather(
                waiting.read_flow_runs(flow_run_filter=wanted),
                waiting.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.NAME_ASC, limit=2),
                waiting.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[made.outer])), limit=3),
            )
            assert names(task_runs) == ["add_one-0", "add_one-1"]
            assert len(logs) == 3
            assert runs[0].model_dump() == client.read_flow_run(made.outer).model_dump()
            assert (await waiting.read_flow_run(made.outer)).id == made.outer
            assert (await waiting.read_task_run(task_runs[0].id)).name == "add_one-0"
            assert (await waiting.read_flow_run_states(made.outer))[-1].is_completed()
            assert (await waiting.read_task_run_states(task_runs[0].id))[-1].is_completed()
            named = await waiting.read_flow_by_name(made.name)
            assert await waiting.read_flow(named.id) == named
            assert named in await waiting.read_flows(flow_run_filter=wanted)
            assert await waiting.hello() == await waiting.api_version() != ""
            assert await waiting.api_healthcheck() is None

    asyncio.run(program())


def test_the_program_of_the_page_runs(plane: Plane, capsys: pytest.CaptureFixture[str]) -> None:
    @flow(name="of-the-page")
    def breaks() -> None:
        raise LookupError("not there")

    assert breaks(return_state=True).is_failed()
    page = (Path(__file__).parents[3] / "docs" / "clients.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    said: dict[str, Any] = {}
    exec(program, said)
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r"\S+ of-the-page Failed .*LookupError: not there.*", first)
    (failed,) = get_client(sync_client=True).read_flow_runs(flow_run_filter=said["lately"], limit=1)
    asyncio.run(said["cancel_all"]([str(failed.id)]))


def test_values_are_read_after_the_client_was_closed(made: Made) -> None:
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=of_flow_run(made.outer))
    assert run.state.result() == 9


@pytest.mark.parametrize("runner", [{}, {"task_runner": ThreadPoolTaskRunner()}], ids=["agents", "threads"])
def test_tasks_may_ask_too(plane: Plane, runner: Any) -> None:
    @flow(name="asked", **runner)
    def asked() -> str:
        return who_owns(runtime.flow_run.id)

    assert asked() == "asked"


@pytest.mark.parametrize("kind", ["flow", "task"])
def test_what_does_not_exist_is_said(made: Made, client: SyncTaskyardClient, kind: str) -> None:
    calls: list[Callable[[Any], Any]] = [
        getattr(client, f"read_{kind}_run"),
        getattr(client, f"read_{kind}_run_states"),
        lambda run_id: getattr(client, f"set_{kind}_run_state")(run_id, Cancelled()),
    ]
    (task_run,) = client.read_task_runs(flow_run_filter=of_flow_run(made.inner))
    other = task_run.id if kind == "flow" else made.outer
    for call in calls:
        with pytest.raises(ObjectNotFound):
            call(uuid4())
        with pytest.raises(ObjectNotFound, match=f"{kind} run {other} does not exist: it is a "):
            call(other)
    for absent in (lambda: client.read_flow(uuid4()), lambda: client.read_flow_by_name(made.name + "-no")):
        with pytest.raises(ObjectNotFound, match="there is no run of it"):
            absent()


class Gated:
    """A flow run that goes on until it is cancelled."""

    def __init__(self, gate: Path, runner: Any) -> None:
        self.ended: list[State[Any]] = []
        self._ids: list[str] = []
        self._began = gate.with_suffix(".began")
        self._thread = threading.Thread(target=self._call, args=(gate, runner))

    def begin(self) -> UUID:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._began.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return UUID(self._ids[0])

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _call(self, gate: Path, runner: Any) -> None:
        @flow(**runner)
        def gated() -> None:
            self._ids.append(runtime.flow_run.id)
            waits.submit(str(gate)).result()

        self.ended.append(gated(return_state=True))


Ask = Callable[[UUID, State[Any]], Any]


def ask_blocking(run_id: UUID, state: State[Any]) -> Any:
    with get_client(sync_client=True) as client:
        return client.set_flow_run_state(run_id, state)


def ask_waiting(run_id: UUID, state: State[Any]) -> Any:
    async def ask() -> Any:
        async with get_client() as client:
            answer: Awaitable[Any] = client.set_flow_run_state(run_id, state, force=True)
            return await answer

    return asyncio.run(ask())


@pytest.mark.parametrize("runner", [{}, {"task_runner": ThreadPoolTaskRunner()}], ids=["agents", "threads"])
@pytest.mark.parametrize(
    ("ask", "state"),
    [(ask_blocking, Cancelling(message="enough")), (ask_waiting, Cancelled(message="enough"))],
)
def test_a_flow_run_is_cancelled(
    plane: Plane, tmp_path: Path, client: SyncTaskyardClient, ask: Ask, state: State[Any], runner: Any
) -> None:
    gated = Gated(tmp_path / "gate", runner)
    run_id = gated.begin()
    answer = ask(run_id, state)
    assert answer.status is SetStateStatus.ACCEPT
    assert answer.state.type in (StateType.CANCELLING, StateType.CANCELLED)
    gated.join()
    assert [each.type for each in gated.ended] == [StateType.CANCELLED]
    states = client.read_flow_run_states(run_id)
    assert states[-1].is_cancelled()
    assert "enough" in " ".join(each.message or "" for each in states)
    again = ask(run_id, state)
    assert again.status is SetStateStatus.ABORT
    assert again.state.is_cancelled()
    assert "has ended already: Cancelled" in again.details.reason


def test_a_task_run_is_cancelled(plane: Plane, tmp_path: Path, client: SyncTaskyardClient) -> None:
    future = waits.delay(str(tmp_path / "gate"))
    assert client.set_task_run_state(future.task_run_id, Cancelled()).status is SetStateStatus.ACCEPT
    assert future.wait(30) is not None
    assert client.read_task_run(future.task_run_id).state_type is StateType.CANCELLED


def test_a_run_that_waits_for_its_next_attempt_says_when_that_is_due(
    plane: Plane, client: SyncTaskyardClient
) -> None:
    future = fail.with_options(name="again", retries=1, retry_delay_seconds=600).delay(1)
    deadline = time.monotonic() + 30
    while (run := client.read_task_run(future.task_run_id)).next_scheduled_start_time is None:
        assert time.monotonic() < deadline, run
        time.sleep(0.01)
    assert run.state_name == "AwaitingRetry"
    assert (run.state_type, run.run_count, run.end_time) == (StateType.SCHEDULED, 1, None)
    assert run.created is not None
    assert run.next_scheduled_start_time - run.created > timedelta(seconds=590)
    scheduled = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.SCHEDULED]))
    found = client.read_task_runs(task_run_filter=TaskRunFilter(state=scheduled))
    assert run.id in [each.id for each in found]
    assert client.set_task_run_state(run.id, Cancelled()).status is SetStateStatus.ACCEPT


def test_a_run_that_has_completed_stays_so(made: Made, client: SyncTaskyardClient) -> None:
    answer = client.set_flow_run_state(made.outer, Cancelled())
    assert (answer.status, answer.state.type) == (SetStateStatus.ABORT, StateType.COMPLETED)
    assert client.read_flow_run(made.outer).state_type is StateType.COMPLETED


def test_who_cannot_be_reached_is_said_and_not_waited_for(tmp_path: Path) -> None:
    with SyncTaskyardClient(f"unix:{tmp_path}/nobody.sock") as client:
        assert isinstance(client.api_healthcheck(), ConnectionFailed)


def test_a_flow_run_is_read_while_it_is_executed(
    plane: Plane, tmp_path: Path, client: SyncTaskyardClient
) -> None:
    gated = Gated(tmp_path / "gate", {})
    run: FlowRun = client.read_flow_run(gated.begin())
    assert (run.state_type, run.end_time, run.run_count) == (StateType.RUNNING, None, 1)
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=running))
    assert run.id in [each.id for each in found]
    (tmp_path / "gate").touch()
    gated.join()
