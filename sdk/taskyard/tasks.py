"""Tasks: functions whose calls become runs."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from taskyard._creatable_task import CreatableTask
from taskyard._data.runs.state import State
from taskyard._data.values.folding import fold_run
from taskyard._data.values.hashing import task_input_hash
from taskyard._engine.definitions.callable_types import (
    OneOrManyFutureOrResult,
    StateHookCallable,
    TaskRunNameCallbackWithParameters,
)
from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.drawn_calls import drawn_call
from taskyard._engine.definitions.materializing import MaterializingDefinition
from taskyard._engine.definitions.option_checks import NO_FUNCTION, exponential_backoff
from taskyard._engine.definitions.task_options import MaterializingOptions, TaskOptions
from taskyard._engine.flow_runs.task_runners import place_of_calls, place_of_generators
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.submission.deferred_calls import DeferrableTask
from taskyard._engine.submission.direct_calls import call_async, call_generator, call_sync
from taskyard._engine.submission.handing_over import hand_over_map, submit_call
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.scope import current_scope, outside_scope
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard._missing_features import absent_names
from taskyard.utilities import visualization
from taskyard.utilities.annotations import unmapped

__all__ = [
    "MaterializingTask",
    "OneOrManyFutureOrResult",
    "StateHookCallable",
    "Task",
    "TaskOptions",
    "TaskRunNameCallbackWithParameters",
    "exponential_backoff",
    "task",
    "task_input_hash",
]

T = TypeVar("T")
Q = ParamSpec("Q")

_UNSAID: Final[Any] = object()


class Task(CreatableTask[P, R], DeferrableTask[P, R], Generic[P, R]):
    """A function whose calls become runs, executed by agents and recorded by the control plane.

    Made by the decorator `task`; calling it runs it and returns its value, `submit` and `map` return futures.
    """

    def __init__(self, fn: Callable[P, R] = NO_FUNCTION, **options: Unpack[TaskOptions]) -> None:
        """Make a task of a function.

        Args:
            fn: The function; a coroutine function, a generator or a method is fine.
            **options: See `task`.

        Raises:
            TypeError: An option has the wrong type, or a parameter a reserved name.
            ValueError: An option is out of range.
        """
        self._configure(self.settings_kind.of(self._function_of(fn), options))

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self: "Task[P, Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: object = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...

    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[True], wait_for: object = None, **kwargs: Any
    ) -> State[R]: ...

    @overload
    def __call__(self, /, *args: Any, wait_for: object, **kwargs: Any) -> R: ...

    def __call__(  # type: ignore[misc]  # a ParamSpec cannot say that these two names are never parameters
        self, /, *args: Any, return_state: bool = False, wait_for: object = None, **kwargs: Any
    ) -> Any:
        """Run the task and return its value; for a coroutine function, return an awaitable.

        Args:
            *args: Arguments of the function. Futures among them, at any depth, are waited for.
            return_state: Whether to return the final state instead, and not to raise.
            wait_for: Futures that must have completed before, though their values are not used.
            **kwargs: Arguments of the function.

        Raises:
            ParameterBindError: The arguments do not fit the function's signature.
            Exception: Whatever the function raised.
        """
        if self._prefix:
            args = self._prefix + args
        if visualization.drawings and visualization.get_task_viz_tracker() is not None:
            return drawn_call(self, (args, kwargs), wait_for, return_state)
        if self.isgenerator:
            return call_generator(self, args, kwargs, wait_for, return_state, place_of_generators)
        if self.isasync:
            return call_async(self, args, kwargs, wait_for, return_state, place_of_calls)
        try:
            return call_sync(self, args, kwargs, wait_for, return_state, place_of_calls)
        except BaseException as error:
            fold_run(error)
            raise

    @overload
    def submit(
        self: "Task[P, Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        **kwargs: Any,
    ) -> Future[T]: ...

    @overload
    def submit(
        self: "Task[P, Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: object = None,
        **kwargs: Any,
    ) -> State[T]: ...

    @overload
    def submit(
        self: "Task[P, Generator[T, Any, Any] | AsyncGenerator[T, Any]]",
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        **kwargs: Any,
    ) -> Future[list[T]]: ...

    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[False] = False, wait_for: object = None, **kwargs: Any
    ) -> Future[R]: ...

    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[True], wait_for: object = None, **kwargs: Any
    ) -> State[R]: ...

    def submit(
        self, /, *args: Any, return_state: bool = False, wait_for: object = None, **kwargs: Any
    ) -> Any:
        """Submit a run and return its future at once.

        Args:
            *args: Arguments of the function. A future among them, at any depth, makes its run an upstream
                run: this one starts when that one has completed.
            return_state: Whether to wait, and to return the final state instead.
            wait_for: Further runs that must have completed before: futures, states or collections of them.
            **kwargs: Arguments of the function.

        Raises:
            RuntimeError: There is no flow, or task, around the call.
            ParameterBindError: The arguments do not fit the function's signature.
            NotPicklable: An argument cannot travel to another process.
        """
        if visualization.drawings:
            visualization.refuse_unsupported("submit")
        scope = current_scope() or self._refuse_outside()
        if scope.submitter is None:
            future = submit_one(self, scope, self._prefix + args, kwargs, wait_for)
        else:
            future = submit_call(self, scope, self._prefix + args, kwargs, wait_for)
        return future.wait() if return_state else future

    @overload
    def map(
        self: "Task[P, Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> FutureList[T]: ...

    @overload
    def map(
        self: "Task[P, Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> list[State[T]]: ...

    @overload
    def map(
        self: "Task[P, Generator[T, Any, Any] | AsyncGenerator[T, Any]]",
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> FutureList[list[T]]: ...

    @overload
    def map(
        self,
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> FutureList[R]: ...

    @overload
    def map(
        self, /, *args: Any, return_state: Literal[True], wait_for: object = None, **kwargs: Any
    ) -> list[State[R]]: ...

    def map(
        self,
        /,
        *args: Any,
        return_state: bool = False,
        wait_for: object = None,
        deferred: Any = _UNSAID,
        **kwargs: Any,
    ) -> Any:
        """Submit one run for each element of the iterables among the arguments.

        Args:
            *args: Arguments of the function. Iterables are taken apart, everything else (strings, bytes,
                `unmapped` values) is the same for each run.
            return_state: Whether to wait, and to return the final states instead.
            wait_for: Runs that must have completed before each of the new ones.
            deferred: Whether the runs outlive this program, see `delay`. Of a function with a parameter of
                this name it is the argument for that.
            **kwargs: Arguments of the function.

        Returns:
            Futures in the order of the elements.

        Raises:
            RuntimeError: There is no flow, or task, around the call, and `deferred` is not set.
            MappingMissingIterable: No argument is iterable.
            MappingLengthMismatch: Iterables have different lengths.
        """
        if visualization.drawings:
            visualization.refuse_unsupported("map")
        if deferred is _UNSAID:
            deferred = False
        elif "deferred" in self.signature.signature.parameters:
            kwargs["deferred"], deferred = deferred, False
        scope = current_scope() or (outside_scope() if deferred else self._refuse_outside())
        whole = tuple(unmapped(value) for value in self._prefix) + args
        if scope.submitter is not None and not deferred:
            futures = hand_over_map(scope.submitter, self, whole, kwargs, wait_for)
            return [future.wait() for future in futures] if return_state else futures
        expansion = expand(self.signature, whole, kwargs)
        if deferred:
            from taskyard._engine.submission.deferred import submit_deferred

            calls = islice(expansion.calls, expansion.count)
            return FutureList([submit_deferred(self, *call, wait_for) for call in calls])
        futures = submit_many(self, scope, expansion, wait_for)
        return [future.wait() for future in futures] if return_state else futures

    def serve(self) -> None:
        """Execute deferred runs of this task in this program, until it is stopped.

        With others, and with a limit: `taskyard.task_worker.serve`.

        Raises:
            TaskyardError: The control plane cannot be reached, or does not take this program.
        """
        from taskyard._engine.task_worker.worker import TaskWorker

        TaskWorker(self).start()

    async def aserve(self) -> None:
        """Do the same in the event loop that is running; cancelling it stops it in good order."""
        from taskyard._engine.task_worker.worker import TaskWorker

        await TaskWorker(self).astart()

    def with_options(self, **options: Unpack[TaskOptions]) -> "Task[P, R]":
        """Return a task of the same function with some options replaced."""
        return self._with(options)

    if TYPE_CHECKING:  # what `Decorated` does, for checkers: the instance is no argument of calls

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...

        @overload
        def __get__(
            self: "Task[Concatenate[T, Q], R]", instance: T, owner: type | None = None
        ) -> "Task[Q, R]": ...

        @overload  # a static method
        def __get__(self, instance: object, owner: type | None = None) -> Self: ...

        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


class MaterializingTask(MaterializingDefinition[P, R], Task[P, R], Generic[P, R]):
    """A task whose runs make `assets`, with the tool `materialized_by`; see `taskyard.assets.materialize`."""

    def __init__(
        self,
        fn: Callable[P, R] = NO_FUNCTION,
        *,
        assets: Iterable[Any] = (),
        materialized_by: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        """Make a task of a function, of the assets that its runs make, or their keys, and of the tool.

        Raises:
            TypeError: There are no assets; or as for `Task`.
        """
        given: Any = {**options, "assets": assets, "materialized_by": materialized_by}
        super().__init__(fn, **given)

    def with_options(self, **options: Unpack[MaterializingOptions]) -> "MaterializingTask[P, R]":
        """Return a task of the same function, and of the same assets, with some options replaced."""
        return self._with(options)


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(fn: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function. A decorator, bare or with options.

    Args:
        fn: The function, when used without options.
        **options: name, description, tags, version: for people and for filters; queue, agent_labels (a
            mapping: the labels, with their values, of the agents that may execute it), priority (the lower
            number goes first): where and how soon its runs start; retries, retry_delay_seconds (a number, a
            list or a callable), retry_jitter_factor, retry_condition_fn, timeout_seconds, heartbeat_timeout
            (for how many seconds it may go without calling `heartbeat`): what happens when it fails;
            result_encoding
            ("pickle", "json" or "bytes"): how results are written, for readers in other languages;
            cache_key_fn, cache_policy, cache_expiration, refresh_cache, persist_result,
            result_storage_key: when it need not run at all; task_run_name, log_prints; viz_return_value:
            what stands for its result where a flow is drawn (`Flow.visualize`); hooks on_completion,
            on_failure, on_running; on_commit and on_rollback, called with the transaction of a run, see
            `taskyard.transactions`; asset_deps: the assets that its runs need, see `taskyard.assets`.

    Raises:
        TypeError: An option has the wrong type, or a parameter a reserved name.
        ValueError: An option is out of range.
    """
    if fn is None:
        return lambda function: Task(function, **options)
    return Task(fn, **options)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
