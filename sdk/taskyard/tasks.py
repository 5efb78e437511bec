"""Tasks: functions whose calls become runs.

Invariant: a task never changes after it was made; `with_options` and binding to an instance make others.
What all calls have in common (signature, identity, templates) is computed once.
"""

import copy
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import update_wrapper
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from taskyard import _durable_names
from taskyard._caching import key_of
from taskyard._data.runs.state import State
from taskyard._data.values.hashing import task_input_hash, task_key
from taskyard._engine.definitions.importable import function_at, plain_template, reference_of, task_template
from taskyard._engine.definitions.options import TaskOptions, TaskSettings, exponential_backoff
from taskyard._engine.definitions.signatures import CallSignature
from taskyard._engine.submission.direct_calls import call_async, call_generator, call_sync
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard._missing_features import absent_method
from taskyard._network.session.session import Session
from taskyard._network.session.templates import Template
from taskyard.context import TaskRunContext, current_tags
from taskyard.futures import Future, FutureList
from taskyard.utilities.annotations import unmapped

__all__ = ["Task", "TaskOptions", "exponential_backoff", "task", "task_input_hash"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OUTSIDE: Final = (
    "task '{name}' was submitted outside of a flow, so nobody would wait for it. Call it inside a function"
    " decorated with @flow, call it directly as {name}(...), or use {name}.delay(...) for a run that"
    " outlives this program"
)


class Task(Generic[P, R]):
    """A function whose calls become runs, executed by agents and recorded by the control plane.

    Made by the decorator `task`; calling it runs it and returns its value, `submit` and `map` return futures.
    """

    def __init__(self, fn: Callable[P, R], **options: Unpack[TaskOptions]) -> None:
        """Make a task of a function.

        Args:
            fn: The function; a coroutine function, a generator or a method is fine.
            **options: See `task`.

        Raises:
            TypeError: An option has the wrong type, or a parameter a reserved name.
            ValueError: An option is out of range.
        """
        method: Any = fn
        self.isclassmethod = isinstance(method, classmethod)
        self.isstaticmethod = isinstance(method, staticmethod)
        if self.isclassmethod or self.isstaticmethod:
            fn = method.__func__
        self._prefix: tuple[Any, ...] = ()
        self._configure(TaskSettings.of(fn, options))

    def _configure(self, settings: TaskSettings) -> None:
        """Compute everything that all calls have in common."""
        fn = settings.fn
        self.settings = settings
        self.fn: Callable[P, R] = fn
        self.name = settings.name
        self.description = settings.description
        self.version = settings.version
        self.tags = set(settings.tags)
        self._show(settings)
        update_wrapper(cast("Callable[..., Any]", self), fn, updated=())
        self.signature = CallSignature(fn)
        self.task_key = task_key(settings.name, fn, settings.tags)
        self.isasync = inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)
        self.isgenerator = inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)
        self.cache_policy = settings.caching
        self.has_cache_key = self.cache_policy is not None
        # Whether a call, or a worker, has anything to do beyond handing the arguments on.
        self.call_work = self.has_cache_key or settings.task_run_name is not None
        self.worker_work = self.call_work or bool(settings.on_running)
        self._templates: dict[tuple[Any, ...], Template] = {}
        self._latest: tuple[Scope | None, frozenset[str] | None, Template | None] = (None, None, None)

    def _show(self, settings: TaskSettings) -> None:
        """Let the options be read where users look for them."""
        self.retries = settings.retries
        self.retry_delay_seconds = settings.shown_retry_delays
        self.retry_jitter_factor = settings.retry_jitter_factor
        self.retry_condition_fn = settings.retry_condition_fn
        self.timeout_seconds = settings.timeout_seconds
        self.cache_key_fn = settings.cache_key_fn
        self.cache_expiration = settings.cache_expiration
        self.refresh_cache = settings.refresh_cache
        self.persist_result = settings.persist_result
        self.result_storage_key = settings.result_storage_key
        self.task_run_name = settings.task_run_name
        self.log_prints = settings.log_prints
        self.on_completion_hooks = list(settings.on_completion)
        self.on_failure_hooks = list(settings.on_failure)
        self.on_running_hooks = list(settings.on_running)

    @property
    def ismethod(self) -> bool:
        """Whether it is bound to an instance, or to a class."""
        return bool(self._prefix)

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self, *args: Any, return_state: Literal[True], wait_for: object = None, **kwargs: Any
    ) -> State[R]: ...

    @overload
    def __call__(self, *args: Any, wait_for: object, **kwargs: Any) -> R: ...

    def __call__(  # type: ignore[misc]  # a ParamSpec cannot say that these two names are never parameters
        self, *args: Any, return_state: bool = False, wait_for: object = None, **kwargs: Any
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
        if self.isgenerator:
            return call_generator(self, args, kwargs, wait_for, return_state)
        if self.isasync:
            return call_async(self, args, kwargs, wait_for, return_state)
        return call_sync(self, args, kwargs, wait_for, return_state)

    @overload
    def submit(
        self: "Task[P, Coroutine[Any, Any, T]]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        **kwargs: Any,
    ) -> Future[T]: ...

    @overload
    def submit(
        self, *args: Any, return_state: Literal[False] = False, wait_for: object = None, **kwargs: Any
    ) -> Future[R]: ...

    @overload
    def submit(
        self, *args: Any, return_state: Literal[True], wait_for: object = None, **kwargs: Any
    ) -> State[R]: ...

    def submit(self, *args: Any, return_state: bool = False, wait_for: object = None, **kwargs: Any) -> Any:
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
        scope = current_scope() or self._refuse_outside()
        future = submit_one(self, scope, self._prefix + args, kwargs, wait_for)
        return future.wait() if return_state else future

    @overload
    def map(
        self: "Task[P, Coroutine[Any, Any, T]]",
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> FutureList[T]: ...

    @overload
    def map(
        self,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> FutureList[R]: ...

    @overload
    def map(
        self,
        *args: Any,
        return_state: Literal[True],
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> list[State[R]]: ...

    def map(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: object = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Submit one run for each element of the iterables among the arguments.

        Args:
            *args: Arguments of the function. Iterables are taken apart, everything else (strings, bytes,
                `unmapped` values) is the same for each run.
            return_state: Whether to wait, and to return the final states instead.
            wait_for: Runs that must have completed before each of the new ones.
            deferred: Whether the runs outlive this program, see `delay`.
            **kwargs: Arguments of the function.

        Returns:
            Futures in the order of the elements.

        Raises:
            RuntimeError: There is no flow, or task, around the call, and `deferred` is not set.
            MappingMissingIterable: No argument is iterable.
            MappingLengthMismatch: Iterables have different lengths.
        """
        scope = current_scope() or (outside_scope() if deferred else self._refuse_outside())
        whole = tuple(unmapped(value) for value in self._prefix) + args
        expansion = expand(self.signature, whole, kwargs)
        if deferred:
            from taskyard._engine.submission.deferred import submit_deferred

            return FutureList([submit_deferred(self, *call, wait_for) for call in _calls(expansion)])
        futures = submit_many(self, scope, expansion, wait_for)
        return [future.wait() for future in futures] if return_state else futures

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit a run that belongs to no flow and outlives this program.

        Raises:
            ParameterBindError: The arguments do not fit the function's signature.
        """
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        wait_for: object = None,
    ) -> Future[R]:
        """Submit a run that belongs to no flow and outlives this program, like `delay`.

        Args:
            args: Positional arguments of the function.
            kwargs: Keyword arguments of the function.
            wait_for: Runs that must have completed before.

        Raises:
            TypeError: `args` is no tuple, or `kwargs` no dict.
            ParameterBindError: The arguments do not fit the function's signature.
        """
        from taskyard._engine.submission.deferred import submit_deferred

        if not isinstance(args or (), (tuple, list)) or not isinstance(kwargs or {}, Mapping):
            raise TypeError(
                f"{self.name}.apply_async takes a tuple of positional arguments and a dict of keyword "
                f"arguments, got {args!r} and {kwargs!r}; {self.name}.delay(...) takes them as a call does"
            )
        return submit_deferred(self, self._prefix + tuple(args or ()), dict(kwargs or {}), wait_for)

    def with_options(self, **options: Unpack[TaskOptions]) -> "Task[P, R]":
        """Return a task of the same function with some options replaced."""
        other = copy.copy(self)
        other._configure(self.settings.with_options(options))
        return other

    def on_completion(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(task, task_run, state)``, called when a run has completed. A decorator."""
        return self._add_hook("on_completion", fn)

    def on_failure(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(task, task_run, state)``, called when a run has failed for good. A decorator."""
        return self._add_hook("on_failure", fn)

    def on_running(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(task, task_run, state)``, called when an attempt starts. A decorator."""
        return self._add_hook("on_running", fn)

    def _add_hook(self, option: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        hooks = (*getattr(self.settings, option), fn)
        self._configure(self.settings.with_options({option: hooks}))
        return fn

    def __get__(self, instance: Any, owner: type | None = None) -> Self:
        """Bind to an instance, or to a class for a class method."""
        bound = owner if self.isclassmethod else instance
        if bound is None or self.isstaticmethod:
            return self
        other = copy.copy(self)
        other._prefix = (bound,)
        return other

    def template(self, scope: Scope, session: Session) -> Template:
        """Return the template of runs that are submitted from `scope`."""
        tags = current_tags()
        latest = self._latest
        if latest[0] is scope and latest[1] is tags and latest[2] is not None:
            return latest[2]
        key = (tags, scope.log_prints, scope.queue, session.session_id)
        template = self._templates.get(key)
        if template is None:
            template = self._templates[key] = self._make_template(scope, tags, session)
        self._latest = (scope, tags, template)
        return template

    def _make_template(self, scope: Scope, tags: frozenset[str], session: Session) -> Template:
        if scope.local_runs is None:
            return task_template(self, tags, scope.log_prints, session)
        message = plain_template(self, tags)
        message.queue = scope.queue
        message.code.task_name = self.task_key
        return Template(message)

    def cache_key_of(self, context: TaskRunContext) -> str | None:
        """Return the cache key of a run; one that cannot be computed is logged and means no caching."""
        return key_of(self.name, self.cache_policy, context)

    def _refuse_outside(self) -> Scope:
        raise RuntimeError(_OUTSIDE.format(name=self.name))

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what a task has in Prefect 3."""
            raise AttributeError(absent_method("task", name))

    def __copy__(self) -> Self:
        """Return the same task with templates of its own: what it is bound to is part of its code."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other._templates = {}
        other._latest = (None, None, None)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel under a durable name; made empty and filled later, because a task may refer to itself."""
        return _durable_names.task, (), self._pickled()

    def _pickled(self) -> dict[str, Any]:
        """Return what cannot be made anew in another process; the function by reference where that works."""
        state = {
            "prefix": self._prefix,
            "classmethod": self.isclassmethod,
            "staticmethod": self.isstaticmethod,
        }
        reference = reference_of(self.settings.fn)
        if reference is None:
            return {**state, "settings": self.settings.values()}
        own = {name: getattr(self.settings, name) for name in _carried()}
        return {**state, "reference": reference, "options": own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same task in another process."""
        self._prefix = state["prefix"]
        self.isclassmethod = state["classmethod"]
        self.isstaticmethod = state["staticmethod"]
        given = state.get("settings")
        if given is None:
            settings = TaskSettings(fn=function_at(state["reference"]), **state["options"])
        else:
            settings = TaskSettings.restored(given)
        self._configure(settings)

    def __repr__(self) -> str:
        """Name the task."""
        return f"<Task '{self.name}'>"


def _carried() -> list[str]:
    """Return the names of the options that make a task again."""
    return [name for name in TaskOptions.__annotations__ if name in TaskSettings.__dataclass_fields__]


def _calls(expansion: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    return (call for call, _ in zip(expansion.calls, range(expansion.count), strict=False))


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(fn: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function. A decorator, bare or with options.

    Args:
        fn: The function, when used without options.
        **options: name, description, tags, version: for people and for filters; queue, priority: where and
            how soon its runs start; retries, retry_delay_seconds (a number, a list or a callable),
            retry_jitter_factor, retry_condition_fn, timeout_seconds: what happens when it fails;
            cache_key_fn, cache_policy, cache_expiration, refresh_cache, persist_result,
            result_storage_key: when it need not run at all; task_run_name, log_prints; hooks
            on_completion, on_failure, on_running.

    Raises:
        TypeError: An option has the wrong type, or a parameter a reserved name.
        ValueError: An option is out of range.
    """
    if fn is None:
        return lambda function: Task(function, **options)
    return Task(fn, **options)
