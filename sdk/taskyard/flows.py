"""Flows: functions whose calls become flow runs, inside which calls of tasks become task runs.

Invariant: the body runs in the calling process, like any function; what happens to it is recorded by the
control plane, which also decides about retries.
"""

import copy
import inspect
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from taskyard import _durable_names
from taskyard._data.runs.state import State
from taskyard._data.values.hashing import task_key
from taskyard._engine.definitions.options import FlowOptions, FlowSettings
from taskyard._engine.definitions.parameter_types import ParameterValidator
from taskyard._engine.definitions.signatures import CallSignature
from taskyard._engine.flow_runs import engine
from taskyard._missing_features import absent_method
from taskyard._network.session.templates import Template
from taskyard.context import current_tags
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.states import RunKind

__all__ = ["Flow", "FlowOptions", "flow"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Flow(Generic[P, R]):
    """A function whose calls become flow runs. Made by the decorator `flow`."""

    def __init__(self, fn: Callable[P, R], **options: Unpack[FlowOptions]) -> None:
        """Make a flow of a function.

        Args:
            fn: The function; a coroutine function is fine.
            **options: See `flow`.

        Raises:
            TypeError: An option has the wrong type, or a parameter a reserved name.
            ValueError: An option is out of range.
        """
        self._prefix: tuple[Any, ...] = ()
        self._configure(FlowSettings.of(fn, options))

    def _configure(self, settings: FlowSettings) -> None:
        """Compute everything that all calls have in common."""
        fn = settings.fn
        self.settings = settings
        self.fn: Callable[P, R] = fn
        self.name = settings.name
        self.description = settings.description
        self.version = settings.version
        self.retries = settings.retries
        self.timeout_seconds = settings.timeout_seconds
        self.task_runner = settings.task_runner
        self.log_prints = settings.log_prints
        update_wrapper(cast("Callable[..., Any]", self), fn, updated=())
        self.signature = CallSignature(fn)
        self.validator = ParameterValidator(fn, self.signature) if settings.validate_parameters else None
        self.isasync = inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)
        self._templates: dict[frozenset[str], Template] = {}

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self: "Flow[P, Coroutine[Any, Any, T]]",
        *args: Any,
        return_state: Literal[True],
        wait_for: object = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...

    @overload
    def __call__(
        self, *args: Any, return_state: Literal[True], wait_for: object = None, **kwargs: Any
    ) -> State[R]: ...

    @overload
    def __call__(self, *args: Any, wait_for: object, **kwargs: Any) -> R: ...

    def __call__(  # type: ignore[misc]  # a ParamSpec cannot say that these two names are never parameters
        self, *args: Any, return_state: bool = False, wait_for: object = None, **kwargs: Any
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
            return engine.run_async(self, call, wait_for, return_state)
        return engine.run_sync(self, call, wait_for, return_state)

    def with_options(self, **options: Unpack[FlowOptions]) -> "Flow[P, R]":
        """Return a flow of the same function with some options replaced."""
        other = copy.copy(self)
        other._configure(self.settings.with_options(options))
        return other

    def on_completion(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when a run has completed. A decorator."""
        return self._add_hook("on_completion", fn)

    def on_failure(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when a run has failed for good. A decorator."""
        return self._add_hook("on_failure", fn)

    def on_cancellation(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when a run is cancelled. A decorator."""
        return self._add_hook("on_cancellation", fn)

    def on_crashed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when a run is interrupted. A decorator."""
        return self._add_hook("on_crashed", fn)

    def on_running(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when an attempt starts. A decorator."""
        return self._add_hook("on_running", fn)

    def _add_hook(self, option: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        hooks = (*getattr(self.settings, option), fn)
        self._configure(self.settings.with_options({option: hooks}))
        return fn

    def __get__(self, instance: Any, owner: type | None = None) -> Self:
        """Bind to an instance, when the flow is a method."""
        if instance is None:
            return self
        other = copy.copy(self)
        other._prefix = (instance,)
        return other

    def template(self) -> Template:
        """Return the template of runs that are made here and now."""
        tags = current_tags()
        template = self._templates.get(tags)
        if template is None:
            template = self._templates[tags] = Template(self._message(tags))
        return template

    def _message(self, tags: frozenset[str]) -> template_pb2.RunTemplate:
        settings = self.settings
        return template_pb2.RunTemplate(
            kind=RunKind.FLOW,  # type: ignore[arg-type]  # the enums are numerically equal
            name=settings.name,
            task_key=task_key(settings.name, settings.fn),
            version=settings.version or "",
            tags=sorted(tags),
            encoding=pickling.ENCODING,
            retry=template_pb2.RetryPolicy(max_retries=settings.retries, delays_ms=settings.retry_delays_ms),
        )

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what a flow has in Prefect 3."""
            raise AttributeError(absent_method("flow", name))

    def __copy__(self) -> Self:
        """Return the same flow with templates of its own."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other._templates = {}
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel under a durable name; made empty and filled later, because a flow may refer to itself."""
        return _durable_names.flow, (), {"settings": self.settings.values(), "prefix": self._prefix}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same flow in another process."""
        self._prefix = state["prefix"]
        self._configure(FlowSettings.restored(state["settings"]))

    def __repr__(self) -> str:
        """Name the flow."""
        return f"<Flow '{self.name}'>"


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
            run (`AgentTaskRunner` or `ThreadPoolTaskRunner`); validate_parameters: whether arguments are
            converted to their declared types; log_prints; persist_result; final_state: "returned", or "all"
            to let all runs decide when nothing is returned; hooks on_completion, on_failure,
            on_cancellation, on_crashed, on_running.

    Raises:
        TypeError: An option has the wrong type, or a parameter a reserved name.
        ValueError: An option is out of range.
    """
    if fn is None:
        return lambda function: Flow(function, **options)
    return Flow(fn, **options)
