"""Futures that are made of the id of a run, and those of deferred runs: rows 47, 50 to 52, section B10."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from support.plane_and_agent import Plane, end_sessions

from taskyard import flow, runtime, task
from taskyard.exceptions import RunNotFound
from taskyard.futures import (
    TaskyardDistributedFuture,
    TaskyardFlowRunFuture,
    TaskyardFuture,
    as_completed,
    wait,
)


def passes(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


@task
def gated(gate: str) -> str:
    passes(gate)
    return gate


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def fails() -> None:
    raise LookupError("nothing there")


@task(result_encoding="json")
def in_json() -> list[int]:
    return [1, 2]


@task
def large() -> bytes:
    return b"x" * 3_000_000


@task
def waits_for_itself() -> str:
    try:
        TaskyardDistributedFuture(runtime.task_run.id).result(timeout=30)
    except ValueError as refused:
        return str(refused)
    return ""


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, plane: Plane) -> str:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


def test_row_47_a_deferred_run_has_a_distributed_future(plane: Plane) -> None:
    future = add.delay(1, 2)
    assert isinstance(future, TaskyardDistributedFuture)
    assert isinstance(future, TaskyardFuture)
    assert future.result(timeout=60) == 3
    assert future.wait() is future.state
    many = add.map([1, 2], 3, deferred=True)
    assert [type(each) for each in many] == [TaskyardDistributedFuture] * 2
    assert many.result(timeout=60) == [4, 5]


def test_b10_distributed_futures_compare_and_hash_by_run_id(plane: Plane) -> None:
    future = add.delay(1, 2)
    again = TaskyardDistributedFuture(future.task_run_id)
    assert again == future == TaskyardDistributedFuture(str(future.task_run_id))
    assert len({again, future}) == 1
    assert again != TaskyardDistributedFuture(uuid4())


def test_row_50_an_id_is_enough_for_the_result(runner: str) -> None:
    @flow
    def main() -> list[object]:
        ids = [add.submit(1, 2).task_run_id, in_json.submit().task_run_id, large.submit().task_run_id]
        found = [TaskyardDistributedFuture(each).result(timeout=60) for each in ids]
        return [*found[:2], len(found[2])]

    assert main() == [3, [1, 2], 3_000_000]


def test_row_50_a_failure_is_raised_or_returned(runner: str) -> None:
    @flow
    def main() -> str:
        return str(fails.submit().task_run_id)

    future = TaskyardDistributedFuture[None](main())
    with pytest.raises(LookupError, match="nothing there"):
        future.result(timeout=60)
    assert isinstance(future.result(raise_on_failure=False), LookupError)
    state = future.wait()
    assert state is not None
    assert (state.is_failed(), state.state_details.task_run_id) == (True, future.task_run_id)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that lets a run end, which is there after the test."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def test_row_50_a_timeout_names_the_run(plane: Plane, gate: Path) -> None:
    run = gated.delay(str(gate))
    again = TaskyardDistributedFuture[str](run.task_run_id)
    with pytest.raises(TimeoutError) as caught:
        again.result(timeout=0.05)
    assert str(caught.value) == f"Task run {run.task_run_id} did not complete within 0.05 seconds"
    assert again.wait(timeout=0.05) is None
    gate.touch()
    assert again.result(timeout=60) == str(gate)


def released(gate: Path) -> threading.Timer:
    timer = threading.Timer(0.2, gate.touch)
    timer.start()
    return timer


def test_row_52_callbacks_of_a_run_that_goes_on_and_of_one_that_is_over(plane: Plane, gate: Path) -> None:
    again = TaskyardDistributedFuture[str](gated.delay(str(gate)).task_run_id)
    called, done = [], threading.Event()
    again.add_done_callback(lambda future: (called.append(future), done.set()))
    assert called == []
    gate.touch()
    assert done.wait(60)
    TaskyardDistributedFuture[str](again.task_run_id).add_done_callback(called.append)
    assert called == [again, again]


def test_row_55_they_are_waited_for_beside_others(plane: Plane, gate: Path) -> None:
    again = TaskyardDistributedFuture[str](gated.delay(str(gate)).task_run_id)
    other = add.delay(1, 2)
    assert wait([again, other], timeout=0).not_done == {again, other} or other.done()
    timer = released(gate)
    assert {future.result() for future in as_completed([again, other], timeout=60)} == {str(gate), 3}
    assert wait([again, other]).done == {again, other}
    timer.join()


def test_futures_made_of_ids_can_be_awaited(plane: Plane, gate: Path) -> None:
    again = TaskyardDistributedFuture[str](gated.delay(str(gate)).task_run_id)

    async def main() -> tuple[str, str]:
        assert await again.wait_async(timeout=0.05) is None
        asyncio.get_running_loop().call_later(0.05, gate.touch)
        return await again, await again.result_async()

    assert asyncio.run(main()) == (str(gate), str(gate))


def test_a_future_made_of_an_id_outlives_the_connection(plane: Plane, gate: Path) -> None:
    again = TaskyardDistributedFuture[str](gated.delay(str(gate)).task_run_id)
    assert again.wait(timeout=0.05) is None
    end_sessions()
    gate.touch()
    assert again.result(timeout=60) == str(gate)


def test_who_stops_waiting_ends_the_watch(plane: Plane, gate: Path) -> None:
    again = TaskyardDistributedFuture[str](gated.delay(str(gate)).task_run_id)
    for _ in range(3):
        assert again.wait(timeout=0.05) is None
    assert (again._callbacks, again._watching and again._watching._watch) == ([], None)


def test_who_stops_waiting_takes_nobody_else_the_watch(plane: Plane, gate: Path) -> None:
    again = TaskyardDistributedFuture[str](gated.delay(str(gate)).task_run_id)

    def impatient() -> None:
        while again.wait(timeout=0.002) is None:
            pass

    def patient() -> None:
        again.result(timeout=60)

    threads = [threading.Thread(target=target) for target in (impatient, patient) * 4]
    for thread in threads:
        thread.start()
    timer = released(gate)
    for thread in threads:
        thread.join(60)
    assert [thread.is_alive() for thread in threads] == [False] * 8
    timer.join()


def test_an_id_is_an_upstream_run(runner: str, gate: Path) -> None:
    @flow
    def main() -> int:
        first = add.delay(1, 2)
        return add(TaskyardDistributedFuture[int](first.task_run_id), 1)

    assert main() == 4


@pytest.mark.parametrize("ask", ["result", "wait"])
def test_there_is_no_such_run(plane: Plane, ask: str) -> None:
    future = TaskyardDistributedFuture[int](uuid4())
    assert future.state.is_pending()
    with pytest.raises(RunNotFound, match=str(future.task_run_id)):
        getattr(future, ask)()


def test_what_is_no_id_is_refused() -> None:
    for make in (TaskyardDistributedFuture, TaskyardFlowRunFuture):
        with pytest.raises(ValueError, match="'today' is no id of a run"):
            make("today")


def test_a_run_cannot_wait_for_itself(runner: str) -> None:
    @flow
    def main() -> str:
        return waits_for_itself()

    assert "would wait for itself: this code belongs to it" in main()


@pytest.fixture
def elsewhere(plane: Plane, gate: Path) -> Iterator[str]:
    """The id of a flow run of somebody else, which ends with 5 once the gate is open."""
    ids, begun = list[str](), threading.Event()

    @flow
    def five() -> int:
        ids.append(runtime.flow_run.id)
        begun.set()
        passes(str(gate))
        return 5

    thread = threading.Thread(target=five)
    thread.start()
    assert begun.wait(60)
    yield ids[0]
    gate.touch()
    thread.join(60)


def test_a_flow_run_has_a_future_too(elsewhere: str, gate: Path) -> None:
    future = TaskyardFlowRunFuture[int](elsewhere)
    assert isinstance(future, TaskyardFuture)
    assert (future.flow_run_id, future.state.is_running()) == (UUID(elsewhere), True)
    assert not hasattr(future, "task_run_id")
    with pytest.raises(TimeoutError, match=f"Flow run {elsewhere} did not complete within 0.05 seconds"):
        future.result(timeout=0.05)
    gate.touch()
    assert future.result(timeout=60) == 5
    assert future.state.state_details.flow_run_id == future.flow_run_id
    assert TaskyardFlowRunFuture[int](elsewhere).result() == 5


def test_a_flow_run_is_an_upstream_run(elsewhere: str, gate: Path, runner: str) -> None:
    @flow
    def main() -> int:
        sum_ = add.submit(TaskyardFlowRunFuture[int](elsewhere), 1)
        assert not sum_.done()
        gate.touch()
        return sum_.result(timeout=60)

    assert main() == 6


def test_a_task_run_is_no_flow_run(plane: Plane) -> None:
    run = add.delay(1, 2)
    with pytest.raises(RunNotFound, match="it is a task run"):
        TaskyardFlowRunFuture[int](run.task_run_id).result()
