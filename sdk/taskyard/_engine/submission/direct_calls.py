"""Direct calls of tasks: submit, wait, hand the value over.

Invariant: to the caller a direct call behaves like the function itself, exceptions included. In flows that
say so (``task_calls="future"``) a call submits a run and returns its future instead.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, suppress
from typing import Any, Final, cast

from taskyard._data.runs.state import State
from taskyard._data.values.folding import fold_run
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.waiting import wait_async, wait_blocking
from taskyard._engine.submission.handing_over import submit_call
from taskyard._engine.submission.scope import Scope, current_scope
from taskyard._engine.submission.submitting import Identity, submit_one
from taskyard._engine.world.seen import look_now
from taskyard.context import transaction_here
from taskyard.logging import show_as_from_here
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.states import RunState, StateReason

Place = Callable[[], Scope]
"""Returns where a call goes that is made now."""
_WITHOUT_VALUE: Final[tuple[int, ...]] = (RunState.FAILED, RunState.CANCELLED)


def call_sync(
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    return_state: bool,
    place: Place,
    identity: Identity | None = None,
    now: bool = False,
) -> Any:
    """Call a task and wait in this thread; `now`: also where calls give futures."""
    scope = _looked_at(place)
    if scope.call_gives_future and not now:
        return _future_of_call(task, scope, args, kwargs, wait_for, return_state)
    future = ended_call(task, scope, args, kwargs, wait_for, identity)
    transaction = transaction_here()
    if transaction is not None:
        transaction.saw_end(future.run_id)
    return future.get_state() if return_state else _value(future)


def ended_call(
    task: TaskDefinition[..., Any],
    scope: Scope,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    identity: Identity | None = None,
) -> Future[Any]:
    """Submit a run and wait for its end, or execute it in this thread where this process is to execute it."""
    try:
        future = submit_one(task, scope, args, kwargs, wait_for, direct=True, identity=identity)
        if scope.executor is not None and not task.is_remote:
            scope.executor.serve(future)
    except BaseException as error:
        if scope.executor is not None:
            scope.executor.leave_entered(error)
        raise
    wait_for_call(future)
    return future


def wait_for_call(future: Future[Any]) -> None:
    """Wait in this thread for a run that is cancelled if that is interrupted."""
    try:
        wait_blocking(future, None)
    except BaseException:
        _give_up(future)
        raise


def _future_of_call(
    task: TaskDefinition[..., Any],
    scope: Scope,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    return_state: bool,
) -> Any:
    future = submit_call(task, scope, args, kwargs, wait_for)
    return future.wait() if return_state else future


def call_async(
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    return_state: bool,
    place: Place,
    identity: Identity | None = None,
    now: bool = False,
) -> Coroutine[Any, Any, Any]:
    """Call a task of a coroutine function; the run is submitted when the coroutine is awaited.

    See `call_sync`.
    """
    task.signature.check(args, kwargs)

    async def call() -> Any:
        scope = _looked_at(place)
        if scope.call_gives_future and not now:
            future = submit_call(task, scope, args, kwargs, wait_for)
            return await future.await_state() if return_state else future
        future = submit_one(task, scope, args, kwargs, wait_for, at_once=True, identity=identity)
        try:
            await wait_async(future, None)
        except BaseException:
            _give_up(future)
            raise
        transaction = transaction_here()
        if transaction is not None:
            await transaction.saw_end_async(future)
        try:
            return future.get_state() if return_state else _value(future)
        except BaseException as error:
            fold_run(error)
            raise

    return named(call(), task.name)


def call_generator(
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    return_state: bool,
    place: Place,
    now: bool = False,
) -> Any:
    """Call a task of a generator function, which is executed while the caller iterates.

    Where calls give futures it is submitted like any task, and its result is the list of its
    values; not `now`.

    Raises:
        ValueError: `return_state` is set; a generator has no state to return.
    """
    around = current_scope()
    if around is not None and around.call_gives_future and not now:
        return _future_of_call(task, around, args, kwargs, wait_for, return_state)
    if return_state:
        raise ValueError(
            f"task '{task.name}' is a generator, which cannot return its state when called; use "
            f"{task.name}.submit(..., return_state=True)"
        )
    task.signature.check(args, kwargs)
    if task.isasync:
        return _generate_async(task, args, kwargs, wait_for, place)
    return _generate(task, args, kwargs, wait_for, place)


def _generate(
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    place: Place,
) -> Generator[Any, Any, Any]:
    scope = _looked_at(place)
    executor = scope.executor
    assert executor is not None  # generators go to no other places
    try:
        future = submit_one(task, scope, args, kwargs, wait_for, direct=True, lazy=True)
        return (yield from executor.iterate(future))
    except BaseException as error:
        executor.leave_entered(error)
        raise


async def _generate_async(
    task: TaskDefinition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object,
    place: Place,
) -> AsyncGenerator[Any, None]:
    scope = _looked_at(place)
    executor = scope.executor
    assert executor is not None
    try:
        future = submit_one(task, scope, args, kwargs, wait_for, direct=True, lazy=True)
        async with aclosing(executor.iterate_async(future)) as values:
            async for value in values:
                yield value
    except BaseException as error:
        executor.leave_entered(error)
        raise


def named(work: Coroutine[Any, Any, Any], name: str) -> Coroutine[Any, Any, Any]:
    """Give a coroutine the name of what was called: Python says it when nobody awaits the coroutine."""
    cast(Any, work).__qualname__ = name
    return work


def _give_up(future: Future[Any]) -> None:
    """End the run of a call that is over: whoever made it has been interrupted, and may go on without it."""
    with suppress(TaskyardError):  # nobody can be told, and something else is being raised
        future.cancel()


def _looked_at(place: Place) -> Scope:
    show_as_from_here()
    look_now()  # whoever waits for a run can pay for a look at what has changed since the last one
    return place()


def _value(future: Future[Any]) -> Any:
    """Return what a direct call returns.

    A state that the task made by hand is returned as it is, unless it holds a value.

    Raises:
        UpstreamTaskError: The run never starts, because an upstream run did not complete.
        Exception: Whatever the task raised.
    """
    outcome = future.outcome
    if isinstance(outcome, pb.RunOutcome):
        by_hand = int(outcome.reason) == StateReason.STATE_BY_HAND
        if by_hand and int(outcome.state) in _WITHOUT_VALUE:
            state: State[Any] = future.get_state()
            return state
    return future.result()
