"""Task runs that are made before anybody executes them.

Invariant: such a run is known to this process only, until `taskyard.task_engine.run_task` executes it, under
the id and with the number that it was given here. Deferred ones are an exception: those are submitted.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import PrivateAttr

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import futures_in
from taskyard._engine.submission.arguments import add_order
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._engine.submission.submitting import Identity
from taskyard.client.schemas.objects import FlowRunResult, TaskRun, TaskRunResult
from taskyard.context import RunContext, current_tags
from taskyard.exceptions import ConfigurationError
from taskyard.states import Pending, Scheduled
from taskyard_contract.id_factory import new_id
from taskyard_contract.ids import are_run_ids


class CreatedTaskRun(TaskRun):
    """A task run that was made, and not submitted."""

    dynamic_key: str
    """Its number among the runs of its task."""
    _is_executed: bool = PrivateAttr(default=False)


def created(
    task: TaskDefinition[..., Any],
    run_id: UUID | None,
    parameters: Mapping[str, Any],
    contexts: tuple[RunContext | None, ...],
    wait_for: object,
    extra_inputs: Mapping[str, Any],
    deferred: bool,
) -> CreatedTaskRun:
    """Make a task run.

    Args:
        task: Its task.
        run_id: Its id; a new one when left out.
        parameters: Its arguments by name. Futures in them are its inputs.
        contexts: The runs that it is to belong to, the inner one first; those around the call when left out.
        wait_for: Runs that must have completed before.
        extra_inputs: Further inputs by name.
        deferred: Whether others execute it.
    """
    scope = _scope_of(contexts)
    number = scope.take_ordinals(task.task_key)
    state = Scheduled() if deferred else Pending()
    return CreatedTaskRun(
        id=_checked(run_id) if run_id is not None else UUID(bytes=new_id()),
        name=f"{task.name}-{number}",
        dynamic_key=str(number),
        task_name=task.name,
        task_key=task.task_key,
        tags=sorted({*task.settings.tags, *current_tags()}),
        flow_run_id=_uuid(scope.flow_run_id),
        parent_task_run_id=_uuid(scope.caller_run_id),
        task_inputs=_inputs(parameters, wait_for, extra_inputs),
        state=state,
        state_type=state.type,
        state_name=state.name,
    )


async def submitted(
    task: Any, parameters: Mapping[str, Any], wait_for: object, extra_inputs: Mapping[str, Any]
) -> CreatedTaskRun:
    """Submit a run that outlives this program, and say which it is."""
    args, kwargs = task.signature.split(parameters)
    future = await asyncio.to_thread(task.apply_async, args, kwargs, wait_for)
    return created(task, future.task_run_id, parameters, (), wait_for, extra_inputs, deferred=True)


def identity_of(task_run_id: UUID | None, task_run: Any) -> Identity | None:
    """Return what a run is to be submitted as; None for what every call makes anew.

    Raises:
        ConfigurationError: The run was executed before, or its id has another form.
    """
    if task_run is None:
        return None if task_run_id is None else Identity(_checked(task_run_id).bytes, None)
    if isinstance(task_run, CreatedTaskRun):
        if task_run._is_executed:  # the control plane takes an id once, and its end is told once
            raise ConfigurationError(
                f"the run '{task_run.name}' was executed before; make another one for another call"
            )
        task_run._is_executed = True
    number = getattr(task_run, "dynamic_key", "")
    run_id = _checked(task_run_id or task_run.id)
    return Identity(run_id.bytes, int(number) if str(number).isdigit() else None)


def _checked(run_id: UUID) -> UUID:
    """Return an id that the control plane takes of a new run: it says when, and where, the run was made.

    Raises:
        ConfigurationError: It has another form.
    """
    if not are_run_ids(run_id.bytes):
        raise ConfigurationError(
            f"a run cannot have the id {run_id}: ids are UUIDs of version 7 whose last two bytes are 0; leave"
            " it out, or take that of a run which create_local_run has made"
        )
    return run_id


def _scope_of(contexts: tuple[RunContext | None, ...]) -> Scope:
    for context in contexts:
        if context is not None and isinstance(context.scope, Scope):
            return context.scope
    return current_scope() or outside_scope()


def _uuid(raw: bytes) -> UUID | None:
    return UUID(bytes=raw) if raw else None


def _input(future: Future[Any]) -> TaskRunResult | FlowRunResult:
    return TaskRunResult(id=future.task_run_id)


def _inputs(
    parameters: Mapping[str, Any], wait_for: object, extra_inputs: Mapping[str, Any]
) -> dict[str, list[TaskRunResult | FlowRunResult]]:
    """Return the runs that a run depends on, by parameter, and those that it only waits for."""
    found = {name: [_input(future) for future in futures_in(value)] for name, value in parameters.items()}
    if wait_for is not None:
        found["wait_for"] = [TaskRunResult(id=UUID(bytes=run_id)) for run_id in add_order({}, wait_for)]
    for name, more in extra_inputs.items():
        found[name] = [*found.get(name, []), *more]
    return found
