"""Runs that are made before anybody executes them, and the functions that execute tasks and flows."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, runtime, tags, task
from taskyard.context import serialize_context
from taskyard.exceptions import ConfigurationError, NotSupported, ParameterBindError, RunExists
from taskyard.flow_engine import run_flow, run_flow_async, run_flow_sync
from taskyard.settings import temporary_settings
from taskyard.task_engine import run_generator_task_sync, run_task, run_task_async, run_task_sync
from taskyard.task_runs import read_task_run, wait_for_task_run
from taskyard_contract.id_factory import new_id


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, plane: Plane) -> Iterator[str]:
    with temporary_settings({"task_runner": request.param}):
        yield request.param


@task(tags=["own"])
def add(x: int, y: int = 1) -> tuple[int, str, str]:
    return x + y, runtime.task_run.id, runtime.task_run.name


@task
async def add_later(x: int) -> tuple[int, str]:
    return x + 1, runtime.task_run.id


@task
def fails() -> None:
    raise ValueError("on purpose")


@task
def numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


@task
async def later_numbers(count: int) -> AsyncGenerator[int, None]:
    for number in range(count):
        yield number


def test_row_38_a_run_is_made_and_executed_under_its_id_and_name(runner: str) -> None:
    @flow
    async def main() -> Any:
        with tags("around"):
            run = await add.create_local_run(parameters={"x": 1})
        assert (run.state_name, run.name, run.dynamic_key) == ("Pending", "add-0", "0")
        assert (run.tags, str(run.flow_run_id)) == (["around", "own"], runtime.flow_run.id)
        other = add(5)
        return run, run_task_sync(add, task_run=run, parameters={"x": 1, "y": 2}), other

    run, said, other = asyncio.run(main())
    assert said == (3, str(run.id), "add-0")
    assert other[2] == "add-1"
    assert read_task_run(run.id).state.is_completed()


def test_row_38_the_inputs_of_a_run_are_collected(plane: Plane) -> None:
    @flow
    async def main() -> Any:
        first, second, last = add.submit(1), add.submit(2), add.submit(3)
        run = await add.create_run(
            parameters={"x": [first, {"deep": second}], "y": 1},
            wait_for=[last],
            extra_task_inputs={"more": []},
        )
        found = {name: [one.id for one in inputs] for name, inputs in run.task_inputs.items()}
        return found, [future.task_run_id for future in (first, second, last)]

    found, (first, second, last) = asyncio.run(main())
    assert found == {"x": [first, second], "y": [], "wait_for": [last], "more": []}


def test_row_38_a_local_run_may_be_deferred_and_have_an_id() -> None:
    async def main() -> Any:
        wanted = UUID(bytes=new_id())
        with pytest.raises(ConfigurationError, match="UUIDs of version 7"):
            await add.create_local_run(id=uuid4())
        run = await add.create_local_run(id=wanted, parameters={"x": 1}, deferred=True)
        return run.id == wanted, run.state_name, run.flow_run_id

    assert asyncio.run(main()) == (True, "Scheduled", None)


def test_row_38_a_deferred_run_is_submitted(plane: Plane) -> None:
    async def main() -> Any:
        with pytest.raises(ConfigurationError, match="leave out id"):
            await add.create_run(id=uuid4(), parameters={"x": 1}, deferred=True)
        return await add.create_run(parameters={"x": 1}, deferred=True)

    run = asyncio.run(main())
    assert run.state_name == "Scheduled"
    assert wait_for_task_run(run.id, 60).state.result()[:2] == (2, str(run.id))


def test_run_task_does_what_calling_does(runner: str) -> None:
    @flow
    def main() -> Any:
        wanted = UUID(bytes=new_id())
        with pytest.raises(ConfigurationError, match="UUIDs of version 7"):
            run_task(add, task_run_id=uuid4(), parameters={"x": 1})
        value, run_id, name = run_task(add, task_run_id=wanted, parameters={"x": 1})
        state = run_task(fails, return_type="state")
        with pytest.raises(ValueError, match="on purpose"):
            run_task(fails)
        with pytest.raises(ParameterBindError):
            run_task(add)
        return (value, UUID(run_id) == wanted, name), state.is_failed()

    assert main() == ((2, True, "add-0"), True)


def test_run_task_waits_for_what_it_is_to_wait_for(runner: str) -> None:
    @flow
    def main() -> Any:
        failed = fails.submit()
        state = run_task_sync(add, parameters={"x": 1}, wait_for=[failed], return_type="state")
        return state.name

    assert main() == "NotReady"


def test_run_task_returns_a_coroutine_for_an_async_task(runner: str) -> None:
    @flow
    async def main() -> Any:
        run = await add_later.create_local_run(parameters={"x": 1})
        value, run_id = await run_task(add_later, task_run=run, parameters={"x": 1})
        return value, run_id == str(run.id), (await run_task_async(add_later, parameters={"x": 2}))[0]

    assert asyncio.run(main()) == (2, True, 3)


def test_run_task_returns_a_generator_for_a_generator_task(runner: str) -> None:
    @flow
    def main() -> Any:
        with pytest.raises(ConfigurationError, match="generator task 'numbers' cannot be made before"):
            list(run_generator_task_sync(numbers, task_run_id=uuid4(), parameters={"count": 1}))
        return list(run_task(numbers, parameters={"count": 3}))

    assert main() == [0, 1, 2]

    @flow
    async def asynchronous() -> Any:
        return [value async for value in run_task(later_numbers, parameters={"count": 2})]

    assert asyncio.run(asynchronous()) == [0, 1]


def test_a_method_is_run_with_its_instance(runner: str) -> None:
    class Counter:
        start = 5

        @task
        def plus(self, x: int) -> int:
            return self.start + x

    @flow
    def main() -> Any:
        return run_task(Counter().plus, parameters={"x": 2})

    assert main() == 7


def test_run_task_and_run_flow_belong_to_the_run_of_a_context(plane: Plane) -> None:
    @flow
    def inner() -> Any:
        return runtime.flow_run.parent_run_id

    @flow
    def outer() -> Any:
        context = serialize_context()
        with ThreadPoolExecutor(1) as pool:
            called = pool.submit(run_flow, inner, context=context).result()
            added = pool.submit(run_task, add, parameters={"x": 1}, context=context).result()
        return called, added[2], runtime.flow_run.id

    parent, name, own_id = outer()
    assert (parent, name) == (own_id, "add-0")


def test_run_flow_does_what_calling_does(plane: Plane) -> None:
    @flow
    def doubled(x: int) -> int:
        return x * 2

    @flow
    async def doubled_later(x: int) -> int:
        return x * 2

    assert run_flow(doubled, parameters={"x": "2"}) == 4  # converted, as in calls
    assert run_flow_sync(doubled, parameters={"x": 2}, return_type="state").is_completed()
    assert asyncio.run(run_flow(doubled_later, parameters={"x": 3})) == 6
    with pytest.raises(NotSupported, match=r"flow_run of taskyard\.flow_engine cannot be used"):
        run_flow_async(doubled_later, flow_run=object())


def test_run_task_executes_also_where_calls_give_futures(runner: str) -> None:
    @flow(task_calls="future")
    async def main() -> Any:
        run = await add.create_local_run(parameters={"x": 1})
        found = run_task(add, task_run=run, parameters={"x": 1})
        later = await run_task(add_later, parameters={"x": 1})
        return found, str(run.id), later[0], list(run_task(numbers, parameters={"count": 3}))

    found, run_id, later, values = asyncio.run(main())
    assert found[:2] == (2, run_id)
    assert (later, values) == (2, [0, 1, 2])


def test_a_run_is_executed_once(runner: str) -> None:
    @flow
    async def main() -> None:
        run = await add.create_local_run(parameters={"x": 1})
        run_task(add, task_run=run, parameters={"x": 1})
        with pytest.raises(ConfigurationError, match=r"'add-0' was executed before"):
            run_task(add, task_run=run, parameters={"x": 1})

    asyncio.run(main())


@pytest.mark.usefixtures("runner")
def test_an_id_is_that_of_one_run() -> None:
    async def both(run_id: UUID) -> list[Any]:
        calls = (run_task_async(add_later, task_run_id=run_id, parameters={"x": x}) for x in (1, 2))
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)

    run_id = UUID(bytes=new_id())
    found = asyncio.run(both(run_id))
    assert [type(one) for one in found] == [tuple, RunExists]
    assert found[0] == (2, str(run_id))
    with pytest.raises(RunExists, match="was submitted before; make a new id"):
        run_task_sync(add, task_run_id=run_id, parameters={"x": 3})
