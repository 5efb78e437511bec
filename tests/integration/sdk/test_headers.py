"""Headers go with runs, and with the runs that these make, through agents and threads."""

from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, headers, runtime, task
from taskyard.context import current_headers
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": "team=night"}


@task
def leaf() -> dict[str, str]:
    return runtime.task_run.headers


@task
def branch() -> list[dict[str, str]]:
    with headers(baggage="team=day"):
        return [runtime.task_run.headers, leaf(), leaf.delay().result()]


@flow
def inner() -> Any:
    return runtime.flow_run.headers, leaf()


@pytest.mark.parametrize("runner", [AgentTaskRunner(), ThreadPoolTaskRunner(max_workers=2)])
def test_headers_are_inherited(plane: Plane, runner: Any) -> None:
    @flow(task_runner=runner)
    def outer() -> Any:
        return runtime.flow_run.headers, leaf(), branch.submit().result(), inner()

    day = {**TRACE, "baggage": "team=day"}
    with headers(TRACE):
        assert outer() == (TRACE, TRACE, [TRACE, day, day], (TRACE, TRACE))
    assert outer() == ({}, {}, [{}, *[{"baggage": "team=day"}] * 2], ({}, {}))


def test_children_of_a_map_have_them_and_each_attempt_too(plane: Plane) -> None:
    @task(retries=1)
    def second_time(number: int) -> Any:
        if runtime.task_run.run_count == 1:
            raise OSError(number)
        return number, runtime.task_run.headers

    @flow
    def outer() -> Any:
        with headers(TRACE):
            return second_time.map(range(3)).result()

    assert outer() == [(number, TRACE) for number in range(3)]


@task
def around() -> dict[str, str]:
    return dict(current_headers())


@pytest.mark.parametrize("runner", [AgentTaskRunner(), ThreadPoolTaskRunner(max_workers=2)])
def test_no_block_of_the_caller_is_around_the_code_of_a_task(plane: Plane, runner: Any) -> None:
    @flow(task_runner=runner)
    def outer() -> list[Any]:
        with headers(TRACE):
            return [around(), around.submit().result()]

    assert outer() == [{}, {}]


def test_outside_of_runs_there_are_none() -> None:
    assert (runtime.task_run.headers, runtime.flow_run.headers) == ({}, {})
