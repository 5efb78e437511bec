"""Executing task runs by calling a function, as calling the task does.

Programs call tasks; this is for code that has a task, and perhaps a run that `Task.create_local_run` made.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from taskyard._created_runs import identity_of
from taskyard._engine.flow_runs.task_runners import place_of_calls, place_of_generators
from taskyard._engine.submission.direct_calls import call_async, call_generator, call_sync
from taskyard._missing_features import absent_names
from taskyard.context import hydrated_context
from taskyard.exceptions import ConfigurationError, TaskRunTimeoutError
from taskyard.tasks import Task

__all__ = [
    "TaskRunTimeoutError",
    "run_generator_task_async",
    "run_generator_task_sync",
    "run_task",
    "run_task_async",
    "run_task_sync",
]

ReturnType = Literal["result", "state"]


def run_task(
    task: Task[..., Any],
    task_run_id: UUID | None = None,
    task_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    dependencies: Any = None,
    context: Mapping[str, Any] | None = None,
) -> Any:
    """Execute a run of a task: now, in a coroutine, or while its values are taken, as the task's function is.

    Args:
        task: The task.
        task_run_id: The run's id; a new one when left out.
        task_run: The run, as `Task.create_local_run` made it.
        parameters: Arguments by name.
        wait_for: Runs that must have completed before.
        return_type: "result", or "state" for the final state, and nothing raised.
        dependencies: Plays no role: futures among the parameters are what the run depends on.
        context: What `taskyard.context.serialize_context` returned, for the run that it is to belong to.

    Raises:
        ParameterBindError: The arguments do not fit the function's signature.
        Exception: Whatever the function raised.
    """
    if task.isgenerator:
        run: Any = run_generator_task_async if task.isasync else run_generator_task_sync
    else:
        run = run_task_async if task.isasync else run_task_sync
    return run(task, task_run_id, task_run, parameters, wait_for, return_type, dependencies, context)


def run_task_sync(
    task: Task[..., Any],
    task_run_id: UUID | None = None,
    task_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    dependencies: Any = None,
    context: Mapping[str, Any] | None = None,
) -> Any:
    """Execute a run of a task of an ordinary function and wait for it; see `run_task`."""
    args, kwargs = _arguments(task, parameters)
    as_state = return_type == "state"
    with hydrated_context(context):
        identity = identity_of(task_run_id, task_run)
        return call_sync(task, args, kwargs, wait_for, as_state, place_of_calls, identity, now=True)


def run_task_async(
    task: Task[..., Any],
    task_run_id: UUID | None = None,
    task_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    dependencies: Any = None,
    context: Mapping[str, Any] | None = None,
) -> Coroutine[Any, Any, Any]:
    """Execute a run of a task of a coroutine function once it is awaited; see `run_task`."""
    args, kwargs = _arguments(task, parameters)
    as_state = return_type == "state"

    async def run() -> Any:
        with hydrated_context(context):
            identity = identity_of(task_run_id, task_run)
            return await call_async(
                task, args, kwargs, wait_for, as_state, place_of_calls, identity, now=True
            )

    return run()


def run_generator_task_sync(
    task: Task[..., Any],
    task_run_id: UUID | None = None,
    task_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    dependencies: Any = None,
    context: Mapping[str, Any] | None = None,
) -> Generator[Any, Any, Any]:
    """Execute a run of a task of a generator while its values are taken; see `run_task`."""
    args, kwargs = _arguments(task, parameters)
    _refuse_identity(task, task_run_id, task_run)
    call = partial(call_generator, task, args, kwargs, wait_for, False, place_of_generators, now=True)
    return (yield from call() if context is None else _generate_in(context, call))


async def run_generator_task_async(
    task: Task[..., Any],
    task_run_id: UUID | None = None,
    task_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    dependencies: Any = None,
    context: Mapping[str, Any] | None = None,
) -> AsyncGenerator[Any, None]:
    """Execute a run of a task of an asynchronous generator while its values are taken; see `run_task`."""
    args, kwargs = _arguments(task, parameters)
    _refuse_identity(task, task_run_id, task_run)
    call = partial(call_generator, task, args, kwargs, wait_for, False, place_of_generators, now=True)
    async with aclosing(call() if context is None else _generate_in_async(context, call)) as values:
        async for value in values:
            yield value


def _generate_in(
    serialized: Mapping[str, Any], call: Callable[[], Generator[Any, Any, Any]]
) -> Generator[Any, Any, Any]:
    """Yield the values of a call that belongs to a run; the code that takes them does not."""
    inside = copy_context()
    block = hydrated_context(serialized)
    inside.run(block.__enter__)
    try:
        values = inside.run(call)
        step: Callable[[], Any] = partial(next, values)
        try:
            while True:
                try:
                    value = inside.run(step)
                except StopIteration as end:
                    return end.value
                try:
                    step = partial(values.send, (yield value))
                except Exception as error:
                    step = partial(values.throw, error)
        finally:
            inside.run(values.close)
    finally:
        inside.run(block.__exit__, None, None, None)


async def _generate_in_async(
    serialized: Mapping[str, Any], call: Callable[[], AsyncGenerator[Any, None]]
) -> AsyncGenerator[Any, None]:
    """Yield values like `_generate_in`."""
    inside = copy_context()
    block = hydrated_context(serialized)
    inside.run(block.__enter__)

    async def taken(step: Callable[[], Awaitable[Any]]) -> Any:
        return await step()

    try:
        values = inside.run(call)
        try:
            while True:
                try:
                    value = await asyncio.create_task(taken(values.__anext__), context=inside)
                except StopAsyncIteration:
                    return
                yield value
        finally:
            await asyncio.create_task(taken(values.aclose), context=inside)
    finally:
        inside.run(block.__exit__, None, None, None)


def _arguments(
    task: Task[..., Any], parameters: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return parameters as a call has them, what the task is bound to among them."""
    bound = dict(zip(task.signature.signature.parameters, task.prefix, strict=False))
    return task.signature.split({**bound, **(parameters or {})})


def _refuse_identity(task: Task[..., Any], task_run_id: UUID | None, task_run: Any) -> None:
    if task_run_id is not None or task_run is not None:
        raise ConfigurationError(
            f"a run of the generator task '{task.name}' cannot be made before it is executed; leave out"
            " task_run_id and task_run"
        )


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
