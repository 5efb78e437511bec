"""Flows: functions whose calls become flow runs, inside which calls of tasks become task runs.

Invariant: the body runs in the calling process, like any function; what happens to it is recorded by the
control plane, which also decides about retries.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, overload

from taskyard._data.runs.state import State
from taskyard._data.values.folding import fold_run
from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.definitions.flow_options import FlowOptions, FlowSettings
from taskyard._engine.definitions.option_checks import NO_FUNCTION, given_function
from taskyard._engine.flow_runs import engine
from taskyard._missing_features import AbsentAttribute, absent_names

__all__ = ["Flow", "FlowOptions", "flow"]

T = TypeVar("T")


class Flow(FlowDefinition[P, R], Generic[P, R]):
    """A function whose calls become flow runs. Made by the decorator `flow`."""

    def __init__(self, fn: Callable[P, R] = NO_FUNCTION, **options: Unpack[FlowOptions]) -> None:
        """Make a flow of a function.

        Args:
            fn: The function; a coroutine function is fine.
            **options: See `flow`.

        Raises:
            TypeError: An option has the wrong type, or a parameter a reserved name.
            ValueError: An option is out of range.
        """
        self._configure(FlowSettings.of(given_function(self.kind, fn), options))

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self: "Flow[P, Coroutine[Any, Any, T]]",
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
        """Run the flow and return its value; for a coroutine function, return an awaitable.

        Args:
            *args: Arguments of the function. Futures among them are waited for.
            return_state: Whether to return the final state instead, and not to raise.
            wait_for: Futures that must have completed before.
            **kwargs: Arguments of the function.

        Raises:
            ParameterBindError: The arguments do not fit the function's signature.
            ParameterTypeError: An argument does not have its declared type.
            Exception: Whatever the function raised.
        """
        call = (self._prefix + args, kwargs)
        if self.isasync:
            from taskyard._engine.flow_runs import async_engine  # as it says itself

            return async_engine.run_async(self, call, wait_for, return_state)
        try:
            return engine.run_sync(self, call, wait_for, return_state)
        except BaseException as error:
            fold_run(error)
            raise

    if not TYPE_CHECKING:
        from_source = AbsentAttribute("flow")
        afrom_source = AbsentAttribute("flow")

    def with_options(self, **options: Unpack[FlowOptions]) -> "Flow[P, R]":
        """Return a flow of the same function with some options replaced."""
        return self._with(options)


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(fn: None = None, /, **options: Unpack[FlowOptions]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(fn: Callable[..., Any] | None = None, /, **options: Unpack[FlowOptions]) -> Any:
    """Make a flow of a function. A decorator, bare or with options.

    Args:
        fn: The function, when used without options.
        **options: name, description, version, flow_run_name: for people and for filters; retries,
            retry_delay_seconds, timeout_seconds: what happens when it fails; task_runner: where its tasks
            run, one of `taskyard.task_runners`; task_calls: what calls of tasks return in it, "value" or
            "future"; validate_parameters: whether arguments are
            converted to their declared types; log_prints; persist_result; result_encoding ("pickle", "json"
            or "bytes"): how the result is recorded; final_state: "returned", or "all" to let all runs decide
            when nothing is returned; code: for workers on other machines, "image" when they have it, or a
            list of patterns of files to send besides those that are found; hooks on_completion, on_failure,
            on_cancellation, on_crashed, on_running.

    Raises:
        TypeError: An option has the wrong type, or a parameter a reserved name.
        ValueError: An option is out of range.
    """
    if fn is None:
        return lambda function: Flow(function, **options)
    return Flow(fn, **options)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
