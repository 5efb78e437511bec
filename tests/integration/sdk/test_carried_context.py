"""The context of a run, taken along into threads and processes of the program's own."""

import ast
import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.plane_and_agent import Plane

import taskyard
from taskyard import flow, get_run_logger, quote, runtime, task
from taskyard.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from taskyard.context import (
    AsyncClientContext,
    FlowRunContext,
    SyncClientContext,
    TaskRunContext,
    get_run_context,
    hydrated_context,
    serialize_context,
)
from taskyard.exceptions import MissingContextError
from taskyard.settings import temporary_settings
from taskyard.task_engine import run_task
from taskyard.transactions import get_transaction

OTHER_PROCESS = """
import asyncio, pickle, sys
from taskyard import Variable, task, get_run_logger, runtime
from taskyard.context import current_tags, hydrated_context
from taskyard.results import should_persist_result

@task
def where() -> tuple[str, str, list[str]]:
    run = runtime.task_run
    return runtime.flow_run.id, run.name, sorted(run.tags)

async def in_a_loop():
    assert await Variable.get("nothing", default=7) == 7
    assert should_persist_result() is False

for context in sys.argv[1:]:
    with hydrated_context(pickle.loads(bytes.fromhex(context))):
        get_run_logger().info("said elsewhere")
        print(repr((*where(), sorted(current_tags()))))
        where.submit()
        asyncio.run(in_a_loop())
"""


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, plane: Plane) -> Iterator[str]:
    with temporary_settings({"task_runner": request.param}):
        yield request.param


@task
def where() -> tuple[str | None, str]:
    return runtime.flow_run.id, runtime.task_run.name


def in_thread(call: Any) -> Any:
    """Call something in a thread that has no context variables of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_a_thread_belongs_to_no_run_by_itself(plane: Plane) -> None:
    @flow
    def main() -> None:
        with pytest.raises(MissingContextError):
            in_thread(get_run_context)

    main()


def test_tasks_called_in_a_thread_belong_to_the_run_whose_context_it_has(runner: str) -> None:
    @flow
    def main() -> Any:
        context = serialize_context()

        def call() -> Any:
            with hydrated_context(context):
                get_run_logger().info("said in a thread")
                return where(), where.submit().result()

        return where(), in_thread(call), runtime.flow_run.id

    (mine, name), theirs, own_id = main()
    assert (mine, name) == (own_id, "where-0")
    assert theirs == ((own_id, "where-1"), (own_id, "where-2"))  # numbered with the run's own


def test_a_flow_waits_for_what_its_threads_submitted(runner: str) -> None:
    @task
    def slow() -> int:
        return 1

    futures: list[Any] = []

    @flow
    def main() -> None:
        context = serialize_context()

        def call() -> None:
            with hydrated_context(context):
                futures.append(slow.submit())

        in_thread(call)

    main()
    assert [future.done() for future in futures] == [True]


def test_threads_may_have_the_same_context_at_the_same_time(plane: Plane) -> None:
    @flow
    def main() -> set[str]:
        context = serialize_context()

        def call(_: int) -> str:
            with hydrated_context(context):
                return where()[1]

        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(call, range(8)))

    assert main() == {f"where-{number}" for number in range(8)}


def test_the_context_of_a_task_run_is_taken_along_with_its_flow_run(runner: str) -> None:
    @task
    def outer() -> Any:
        context = serialize_context()

        def call() -> Any:
            with hydrated_context(context):
                inner = TaskRunContext.get()
                assert inner is not None
                return inner.task_run.name, where()[0]

        return in_thread(call)

    @flow
    def main() -> Any:
        return outer(), runtime.flow_run.id

    (name, flow_run_id), own_id = main()
    assert (name, flow_run_id) == ("outer-0", own_id)


def test_tags_and_headers_are_taken_along(plane: Plane) -> None:
    @task
    def seen() -> Any:
        return sorted(runtime.task_run.tags), runtime.task_run.headers

    @flow
    def main() -> Any:
        with taskyard.tags("carried"), taskyard.headers(trace="1"):
            context = serialize_context()

        def call() -> Any:
            with hydrated_context(context):
                return seen()

        return in_thread(call)

    assert main() == (["carried"], {"trace": "1"})


def test_without_a_context_nothing_changes() -> None:
    with hydrated_context(None), hydrated_context({}):
        assert FlowRunContext.get() is None
    outside = serialize_context()
    assert (dict(outside["flow_run_context"]), dict(outside["task_run_context"])) == ({}, {})
    with hydrated_context(pickle.loads(pickle.dumps(outside))):
        assert FlowRunContext.get() is None


def elsewhere(program: Path, *contexts: dict[str, Any]) -> list[Any]:
    """Execute the program with some contexts in another process; returns what it printed for each."""
    program.write_text(OTHER_PROCESS)
    command = [sys.executable, str(program), *(pickle.dumps(context).hex() for context in contexts)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return [ast.literal_eval(line) for line in said.stdout.splitlines()]


def test_tasks_called_in_another_process_belong_to_the_flow_run(plane: Plane, tmp_path: Path) -> None:
    @flow
    def main() -> Any:
        with taskyard.tags("carried"):
            context = serialize_context()
        return elsewhere(tmp_path / "other.py", context), runtime.flow_run.id

    said, own_id = main()
    assert said == [(own_id, "where-0", ["carried"], ["carried"])]
    with taskyard.get_client(sync_client=True) as client:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(own_id)]))
        runs = client.read_task_runs(flow_run_filter=wanted)
    # The one that was only submitted has ended as well: the block waited for it.
    assert sorted((run.name, run.state_name) for run in runs) == [
        ("where-0", "Completed"),
        ("where-1", "Completed"),
    ]


def test_one_process_may_belong_to_several_flow_runs_one_after_the_other(
    plane: Plane, tmp_path: Path
) -> None:
    @flow
    def inner(context: Any) -> Any:
        own = serialize_context()
        return elsewhere(tmp_path / "other.py", context, own, context), runtime.flow_run.id

    @flow(validate_parameters=False)
    def main() -> Any:
        return inner(quote(serialize_context())), runtime.flow_run.id

    (said, inner_id), outer_id = main()
    assert [line[0] for line in said] == [outer_id, inner_id, outer_id]


def test_tasks_called_in_a_process_that_a_task_started_belong_to_its_flow_run(
    plane: Plane, tmp_path: Path
) -> None:
    @task
    def starts() -> Any:
        return elsewhere(tmp_path / "other.py", serialize_context())

    @flow
    def main() -> Any:
        return starts(), runtime.flow_run.id

    said, own_id = main()
    assert [line[0] for line in said] == [own_id]


def test_a_client_is_shared_in_a_block(plane: Plane) -> None:
    assert SyncClientContext.get() is None
    with SyncClientContext.get_or_create() as outer, SyncClientContext.get_or_create() as inner:
        assert inner is outer is SyncClientContext.get()
        assert inner.client.api_healthcheck() is None
    assert SyncClientContext.get() is None

    async def main() -> None:
        async with AsyncClientContext.get_or_create() as outer, AsyncClientContext.get_or_create() as inner:
            assert inner is outer is AsyncClientContext.get()
            assert await inner.client.api_healthcheck() is None

    asyncio.run(main())


def test_who_takes_the_values_of_a_generator_does_not_belong_to_its_run(runner: str) -> None:
    @task
    def numbers(count: int) -> Any:
        for number in range(count):
            yield number, runtime.flow_run.id

    @task
    async def later_numbers(count: int) -> Any:
        for number in range(count):
            yield number, runtime.flow_run.id

    @flow
    def main() -> Any:
        context, own_id = serialize_context(), runtime.flow_run.id

        def take() -> None:
            values = run_task(numbers, parameters={"count": 3}, context=context)
            assert next(values) == (0, own_id)
            assert FlowRunContext.get() is None
            assert list(values) == [(1, own_id), (2, own_id)]
            left = run_task(numbers, parameters={"count": 3}, context=context)
            next(left)
            left.close()

        async def take_later() -> None:
            async for _, flow_run_id in run_task(later_numbers, parameters={"count": 2}, context=context):
                assert flow_run_id == own_id
                assert FlowRunContext.get() is None

        in_thread(take)
        in_thread(lambda: asyncio.run(take_later()))

    main()


def test_a_thread_has_the_transaction_of_the_task_run_whose_context_it_has(runner: str) -> None:
    @task
    def outer() -> bool:
        context = serialize_context()

        def call() -> Any:
            with hydrated_context(context):
                return get_transaction()

        return in_thread(call) is get_transaction()

    @flow
    def main() -> bool:
        return outer()

    assert main() is True


def test_a_forked_process_has_no_context_of_its_parent(plane: Plane) -> None:
    """Its connections are not there, so it is another process like others."""

    @flow
    def main() -> int:
        context = serialize_context()
        child = os.fork()
        if not child:
            is_foreign = context["flow_run_context"].context is None
            os._exit(0 if is_foreign else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert main() == 0
