"""Calls that go through the task runner of their flow, where that does something of its own with them.

Most task runners only say who executes runs, and calls are submitted past them (`submitting`).
"""

from typing import Any

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.submission.ports import Submitter
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_one


def submit_call(
    task: TaskDefinition[..., Any],
    scope: Scope,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
) -> Future[Any]:
    """Submit a run the way of the place where the call is made."""
    if scope.submitter is None:
        return submit_one(task, scope, args, kwargs, wait_for)
    return hand_over(scope.submitter, task, args, kwargs, wait_for)


def hand_over(
    submitter: Submitter,
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
) -> Future[Any]:
    """Have a task runner submit a run.

    Raises:
        ParameterBindError: The arguments do not fit.
        TypeError: The task runner returns no future.
    """
    future = submitter.submit(task, task.signature.bind(args, kwargs, defaults=False), wait_for)
    if not isinstance(future, Future):
        raise TypeError(_no_future(submitter, "submit", "a future", future))
    return future


def hand_over_map(
    submitter: Submitter,
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
) -> FutureList[Any]:
    """Have a task runner submit the children of a map.

    Raises:
        ParameterBindError: The arguments do not fit.
        TypeError: The task runner returns no list of futures.
    """
    futures = submitter.map(task, task.signature.bind(args, kwargs, defaults=False), wait_for)
    if not (isinstance(futures, list) and all(isinstance(future, Future) for future in futures)):
        raise TypeError(_no_future(submitter, "map", "a list of futures", futures))
    return futures if isinstance(futures, FutureList) else FutureList(futures)


def _no_future(submitter: Submitter, method: str, wanted: str, got: object) -> str:
    return (
        f"task runner {submitter!r} returned {type(got).__name__} from its method '{method}', where it has"
        f" to return {wanted}: that of super().{method}(...)"
    )
