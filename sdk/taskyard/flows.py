"""Flows: functions whose calls become flow runs, inside which calls of tasks become task runs.

Invariant: the body runs in the calling process, like any function; what happens to it is recorded by the
control plane, which also decides about retries.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from taskyard._data.runs.state import State
from taskyard._data.values.folding import fold_run
from taskyard._engine.definitions.callable_types import FlowStateHook, StateHookCallable
from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.drawn_calls import drawn_call
from taskyard._engine.definitions.flow_options import FlowOptions, FlowSettings
from taskyard._engine.definitions.option_checks import NO_FUNCTION
from taskyard._engine.flow_runs import engine
from taskyard._engine.flow_runs.deploying import DeployableFlow, refuse_deploying
from taskyard._engine.flow_runs.drawing import is_in_loop
from taskyard._missing_features import absent_names
from taskyard.exceptions import MissingFlowError, ScriptError, TaskyardError
from taskyard.utilities import visualization

__all__ = [
    "Flow",
    "FlowOptions",
    "FlowStateHook",
    "StateHookCallable",
    "aserve",
    "flow",
    "is_entrypoint_async",
    "load_flow_arguments_from_entrypoint",
    "load_flow_from_entrypoint",
    "load_flow_from_script",
    "load_flows_from_script",
    "load_function_and_convert_to_flow",
    "load_placeholder_flow",
    "safe_load_flow_from_entrypoint",
    "select_flow",
    "serve",
]

T = TypeVar("T")
Q = ParamSpec("Q")


class Flow(DeployableFlow[P, R], Generic[P, R]):
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
        self._configure(FlowSettings.of(self._function_of(fn), options))

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
        if visualization.drawings and visualization.get_task_viz_tracker() is not None:
            return drawn_call(self, call, wait_for, return_state)
        if self.isasync:
            from taskyard._engine.flow_runs import async_engine  # as it says itself

            return async_engine.run_async(self, call, wait_for, return_state)
        try:
            return engine.run_sync(self, call, wait_for, return_state)
        except BaseException as error:
            fold_run(error)
            raise

    @classmethod
    def from_source(cls, source: Any, entrypoint: str) -> Any:
        """Load a flow from a directory, or from what a storage object fetches.

        Args:
            source: The path of a directory, or an object with `pull_code()` and `destination`, and with
                `set_base_path(path)` if it is to be told where to put the code.
            entrypoint: The flow in there, as in ``path.py:flow`` or ``path.py:Class.method``.

        Returns:
            The flow; where an event loop runs, a coroutine that returns it.

        Raises:
            ConfigurationError: The source is a URL, which this release cannot fetch.
            TypeError: It is no source.
            FileNotFoundError: There is no such directory, or no such file in it.
            MissingFlowError: The file has no such flow.
            ScriptError: The file raised an exception.
        """
        from taskyard._engine.loading import sources

        if is_in_loop():
            return cls.afrom_source(source, entrypoint)
        return load_flow_from_entrypoint(str(sources.directory_now(source) / entrypoint))

    @classmethod
    async def afrom_source(cls, source: Any, entrypoint: str) -> "Flow[..., Any]":
        """Load a flow as `from_source` does."""
        from taskyard._engine.loading import sources

        return load_flow_from_entrypoint(str(await sources.directory_of(source) / entrypoint))

    def with_options(self, **options: Unpack[FlowOptions]) -> "Flow[P, R]":
        """Return a flow of the same function with some options replaced."""
        return self._with(options)

    if TYPE_CHECKING:  # what `Decorated` does, for checkers: the instance is no argument of calls

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...

        @overload
        def __get__(
            self: "Flow[Concatenate[T, Q], R]", instance: T, owner: type | None = None
        ) -> "Flow[Q, R]": ...

        @overload  # a static method
        def __get__(self, instance: object, owner: type | None = None) -> Self: ...

        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


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


if not TYPE_CHECKING:  # a function has no such attributes for type checkers
    flow.from_source, flow.afrom_source = Flow.from_source, Flow.afrom_source


def serve(*flows: Any, **options: Any) -> Any:
    """Start runs of flows, or of what `to_deployment` made, in this process, when somebody asks for them.

    Raises:
        NotSupported: Always; the control plane starts no flows yet.
    """
    refuse_deploying("taskyard.serve(...)")


def aserve(*flows: Any, **options: Any) -> Any:
    """Refuse, like `serve`.

    Raises:
        NotSupported: Always.
    """
    refuse_deploying("taskyard.aserve(...)")


def select_flow(
    flows: Iterable[Flow[..., Any]], flow_name: str | None = None, from_message: str | None = None
) -> Flow[..., Any]:
    """Return the only flow, or the one of a name.

    Args:
        flows: Flows.
        flow_name: The name of the one that is wanted.
        from_message: Where they are from, for messages: "in script 'etl.py'".

    Raises:
        MissingFlowError: There is none, or none of that name.
        UnspecifiedFlowError: There are several, and no name was given.
    """
    from taskyard._engine.loading import entrypoints

    return entrypoints.selected(flows, flow_name, from_message)


def load_flows_from_script(path: str) -> list[Flow[..., Any]]:
    """Execute a script, as a module, and return the flows that it defines at its top, in their order.

    Raises:
        FileNotFoundError: There is no such file.
        ScriptError: The script raised an exception.
    """
    from taskyard._engine.loading import entrypoints

    return entrypoints.flows_of_script(Flow, path)


def load_flow_from_script(path: str, flow_name: str | None = None) -> Flow[..., Any]:
    """Execute a script, as a module, and return its only flow, or the one of a name.

    Raises:
        FileNotFoundError: There is no such file.
        ScriptError: The script raised an exception.
        MissingFlowError: It has no flow, or none of that name.
        UnspecifiedFlowError: It has several, and no name was given.
    """
    return select_flow(load_flows_from_script(path), flow_name, f"in script '{path}'")


def load_flow_from_entrypoint(entrypoint: str, use_placeholder_flow: bool = True) -> Flow[..., Any]:
    """Return the flow that an entrypoint names, after executing its file, or importing its module.

    A file is executed once, and again after it was changed. What it defines finds its way to workers.

    Args:
        entrypoint: ``path.py:flow``, ``module:flow``, ``module.flow``; for a method ``path.py:Class.method``.
        use_placeholder_flow: Whether to return a flow with the name, the options and the parameters that the
            text of the file says, when the file cannot be executed, because a package is missing for example.
            When it is run, such a flow fails with what went wrong.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: There is no such module.
        ScriptError: The file, or the module, raised an exception.
        MissingFlowError: It has nothing of that name, or no flow.
        ValueError: The entrypoint has none of these forms.
    """
    from taskyard._engine.loading import entrypoints

    place = entrypoints.Entrypoint.of(entrypoint)
    try:
        found = place.load()
    except AttributeError as error:
        raise MissingFlowError(place.missing()) from error
    except ScriptError as error:
        placeholder = _placeholder_or_none(entrypoint, error) if use_placeholder_flow else None
        if placeholder is None:
            raise
        return placeholder
    return entrypoints.checked_flow(Flow, found, place)


def load_function_and_convert_to_flow(entrypoint: str) -> Flow[..., Any]:
    """Return the flow that an entrypoint names, or a flow of the function that it names.

    Raises:
        RuntimeError: There is nothing of that name.
        ScriptError: The file, or the module, raised an exception.
        TypeError: It is no function.
    """
    from taskyard._engine.loading import entrypoints

    place = entrypoints.Entrypoint.of(entrypoint)
    try:
        found = place.load()
    except AttributeError as error:
        raise RuntimeError(f"Function with name {place.attribute!r} not found in {place.place!r}.") from error
    return found if isinstance(found, Flow) else Flow(found, log_prints=True)


def load_flow_arguments_from_entrypoint(
    entrypoint: str, arguments: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return what the text of a flow says about it, without executing the flow's file.

    Imports and assignments of the file are executed as far as that works: options may refer to them.

    Args:
        entrypoint: As for `load_flow_from_entrypoint`.
        arguments: Which options of ``@flow(...)`` to return; all that are plain values when left out.

    Returns:
        The options by name, those that cannot be read left out; the name of the function as ``name`` when
        nothing else is said.

    Raises:
        OSError: The file cannot be read.
        SyntaxError: It is not Python.
        MissingFlowError: It defines no such function.
    """
    from taskyard._engine.loading.texts import READABLE, FlowText

    text = FlowText.at(entrypoint)
    return text.options(text.namespace(), READABLE if arguments is None else frozenset(arguments))


def load_placeholder_flow(entrypoint: str, raises: BaseException) -> Flow[..., Any]:
    """Return a flow with the name, the options and the parameters of another one, that fails when it is run.

    Args:
        entrypoint: As for `load_flow_from_entrypoint`; the file is read, and not executed.
        raises: What it fails with.

    Raises:
        OSError: The file cannot be read.
        SyntaxError: It is not Python.
        MissingFlowError: It defines no such function.
    """
    from taskyard._engine.loading.texts import FlowText

    text = FlowText.at(entrypoint)
    names = text.namespace()
    return Flow(text.placeholder(names, raises), **text.options(names))


def safe_load_flow_from_entrypoint(entrypoint: str) -> Flow[..., Any] | None:
    """Return the flow that an entrypoint names, or a placeholder for it; None if there is neither."""
    try:
        return load_flow_from_entrypoint(entrypoint)
    except (TaskyardError, OSError, ImportError):
        return None


def _placeholder_or_none(entrypoint: str, why: ScriptError) -> Flow[..., Any] | None:
    try:
        return load_placeholder_flow(entrypoint, why)
    except (Exception, SystemExit):  # the text may be wrong as well, and its options are foreign code
        return None


def is_entrypoint_async(entrypoint: str) -> bool:
    """Say whether the text of a flow is that of a coroutine function.

    Raises:
        OSError: The file cannot be read.
        SyntaxError: It is not Python.
        MissingFlowError: It defines no such function.
    """
    from taskyard._engine.loading.texts import FlowText

    return FlowText.at(entrypoint).is_async


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
