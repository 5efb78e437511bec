"""Runs that an agent executes: what programs see of values, failures, retries, caching, ends and records."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import (
    Failed,
    allow_failure,
    flow,
    get_run_logger,
    tags,
    task,
    task_input_hash,
    unmapped,
)
from taskyard._network.server.calls import Client
from taskyard.exceptions import CancelledRun, CrashedRun
from taskyard.states import State
from taskyard_api.v1 import run_service_pb2
from taskyard_contract.states import RunKind, RunState


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task
def identity(value: Any) -> Any:
    return value


def test_calls_maps_and_reductions(plane: Plane) -> None:
    @flow
    def main() -> int:
        doubled = add.map(range(50), unmapped(0))
        return sum(add.map(doubled, 1).result()) + add(add.submit(1), b=2)

    assert main() == sum(range(1, 51)) + 4


def test_failures_and_their_consumers(plane: Plane) -> None:
    @flow
    def main() -> tuple[str, str]:
        bad = fail.submit("x")
        waiting = add.submit(bad).wait()
        assert waiting is not None
        return waiting.name, identity(allow_failure(bad)).args[0]

    assert main() == ("NotReady", "x")
    with pytest.raises(ValueError, match="direct") as caught:
        fail("direct")
    assert "in fail" in caught.value.__notes__[0], "the worker's traceback comes along"


def test_retries_run_in_the_same_run(plane: Plane, tmp_path: Path) -> None:
    counter = tmp_path / "n"

    @task(retries=2, retry_delay_seconds=0.01)
    def flaky() -> int:
        counter.write_text(counter.read_text() + "x" if counter.exists() else "x")
        if len(counter.read_text()) < 3:
            raise OSError("again")
        return len(counter.read_text())

    assert flaky() == 3


def test_a_retry_condition_can_forbid(plane: Plane, tmp_path: Path) -> None:
    counter = tmp_path / "n"

    @task(retries=2, retry_condition_fn=lambda of, run, state: False)
    def never() -> None:
        counter.write_text(counter.read_text() + "x" if counter.exists() else "x")
        raise OSError("no")

    assert never(return_state=True).is_failed()
    assert counter.read_text() == "x"


def test_cached_results_are_not_computed_again(plane: Plane, tmp_path: Path) -> None:
    @task(cache_key_fn=task_input_hash)
    def stamp(where: str) -> float:
        return time.time()

    @flow
    def main() -> list[State[float]]:
        first = stamp.submit(str(tmp_path)).wait()
        second = stamp.submit(str(tmp_path)).wait()
        third = stamp.submit(identity.submit(str(tmp_path))).wait()
        return [first, second, third]  # type: ignore[list-item]

    states = main()
    assert [state.name for state in states] == ["Completed", "Cached", "Cached"]
    assert len({state.result() for state in states}) == 1


def test_large_values_travel_as_blobs(plane: Plane) -> None:
    assert len(identity(b"x" * 300_000)) == 300_000

    @flow
    def main() -> int:
        return len(identity(identity.submit(b"y" * 200_000)))

    assert main() == 200_000


def test_tasks_may_call_tasks_and_flows(plane: Plane) -> None:
    @task
    def countdown(n: int) -> int:
        return 0 if n == 0 else 1 + countdown(n - 1)

    @flow
    def inner(n: int) -> int:
        return add(n)

    @task
    def calls_flow() -> int:
        return inner(countdown(4))

    assert countdown(5) == 5, "deeper than there are slots"
    assert calls_flow() == 5


def test_a_dying_worker_crashes_its_run_only(plane: Plane) -> None:
    @task
    def die() -> None:
        os._exit(7)

    state = die(return_state=True)
    assert state.is_crashed()
    with pytest.raises(CrashedRun, match="7"):
        state.result()
    assert add(1) == 2


def test_a_task_that_takes_too_long_is_stopped(plane: Plane) -> None:
    @task(timeout_seconds=0.3)
    def slow() -> None:
        time.sleep(30)

    started = time.monotonic()
    state = slow(return_state=True)
    assert state.name == "TimedOut"
    assert time.monotonic() - started < 15
    with pytest.raises(TimeoutError):
        state.result()


def test_one_run_can_be_cancelled(plane: Plane) -> None:
    @task
    def slow() -> None:
        time.sleep(30)

    @flow
    def main() -> State[Any] | None:
        future = slow.submit()
        future.cancel()
        return future.wait(10)

    state = main(return_state=True)
    assert state.is_cancelled()


def test_a_flow_run_can_be_cancelled_by_somebody_else(plane: Plane) -> None:
    @task
    def cancel(run_id: bytes, address: str) -> None:
        with Client(address) as client:
            client.cancel_run(run_id)

    @flow
    def main() -> None:
        from taskyard.context import get_run_context

        cancel.submit(get_run_context().run.raw_id, plane.address)
        time.sleep(30)

    with pytest.raises(CancelledRun):
        main()
    assert newest_flow(plane).state == RunState.CANCELLED


def test_records_say_what_happened(plane: Plane) -> None:
    @flow(name="recorded flow")
    def main() -> None:
        get_run_logger().info("from the flow")
        with tags("a"):
            add.submit(1)
        loud.submit()

    @task(log_prints=True, task_run_name="loud-one")
    def loud() -> None:
        print("from the task")

    main()
    with Client(plane.address) as client:
        flow_run = newest_flow(plane)
        request = run_service_pb2.ListRunsRequest(
            filter=run_service_pb2.RunFilter(flow_run_id=flow_run.run_id)
        )
        names = {run.name: run for run in client.list_runs(request).runs}
        logs = client.list_run_logs(flow_run.run_id).logs
        stored = client.get_run(flow_run.run_id, include_result=True)
    assert flow_run.task_name == "recorded flow"
    assert {"add-0", "loud-one"} <= names.keys()
    assert list(names["add-0"].tags) == ["a"]
    assert {"from the flow", "from the task"} <= set(logs.messages)
    assert stored.state == RunState.COMPLETED


def newest_flow(plane: Plane) -> run_service_pb2.Run:
    with Client(plane.address) as client:
        request = run_service_pb2.ListRunsRequest(
            filter=run_service_pb2.RunFilter(kind=RunKind.FLOW),  # type: ignore[arg-type]
            page_size=1,
        )
        return client.list_runs(request).runs[0]


def test_a_flow_is_retried_by_the_control_plane(plane: Plane) -> None:
    attempts: list[int] = []

    @flow(retries=2, retry_delay_seconds=0.01)
    def main() -> int:
        attempts.append(add(len(attempts)))
        if len(attempts) < 3:
            raise ValueError("again")
        return len(attempts)

    assert main() == 3
    assert newest_flow(plane).attempt == 3


def test_a_hand_made_state_decides(plane: Plane) -> None:
    @flow
    def main() -> State[Any]:
        return Failed(message="by hand")

    state = main(return_state=True)
    assert (state.is_failed(), state.message) == (True, "by hand")
    assert newest_flow(plane).message == "by hand"


def test_delayed_runs_belong_to_nobody(plane: Plane) -> None:
    future = add.delay(4)
    assert future.result(10) == 5
    assert add.map([1, 2], deferred=True).result(10) == [2, 3]


def test_a_killed_control_plane_is_not_noticed(plane: Plane) -> None:
    @task
    def slowish(n: int) -> int:
        time.sleep(0.01)
        return n

    @flow
    def main() -> int:
        futures = slowish.map(range(60))
        plane.restart()
        return sum(futures.result()) + slowish(1)

    assert main() == sum(range(60)) + 1
