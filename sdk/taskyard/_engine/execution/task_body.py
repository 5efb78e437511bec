"""What a worker executes for a task: the user's function inside everything that makes it a task.

Implements `taskyard_contract.execution.TaskCode`. Invariant: `execute` returns for every attempt, whatever
user code does; only the end of the process itself is left to the agent to notice.
"""

import asyncio
import atexit
import contextvars
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Self, TypeVar

from taskyard import _durable_names
from taskyard._data.runs.records import TaskRun
from taskyard._data.runs.state import State, is_state
from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution import reports
from taskyard._engine.futures.waiting import wait_for_children
from taskyard.context import TaskRunContext
from taskyard.exceptions import RunCancelled
from taskyard.logging import capture_prints, configure, get_run_logger
from taskyard_api.v1 import agent_service_pb2
from taskyard_contract.encodings import decode
from taskyard_contract.execution import Invocation, WorkerHost
from taskyard_contract.references import resolving
from taskyard_contract.states import StateType

Report = bytes | agent_service_pb2.ReportException
T = TypeVar("T")


_OWN_EXITS: Final = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)
_LAZY: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)


class TaskBody:
    """The code of a task as a worker holds it."""

    def __init__(self, task: TaskDefinition[..., Any], log_prints: bool) -> None:
        """Wrap a task; `log_prints` is what it inherits if it does not say it itself."""
        self.task = task
        own = task.settings.log_prints
        self.log_prints = log_prints if own is None else own

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel under a name that no move of this module changes."""
        return _durable_names.task_body, (self.task, self.log_prints)

    @classmethod
    def arrived(cls, task: TaskDefinition[..., Any], log_prints: bool) -> Self:
        """Return the code in a worker, where log records are sent and not shown."""
        configure(console=False)
        return cls(task, log_prints)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker from release 0.1.0, which pickled attributes."""
        self.__dict__.update(state)
        configure(console=False)

    def execute(self, invocation: Invocation, host: WorkerHost) -> Report:
        """Execute one attempt; see `TaskCode`."""
        try:
            args, kwargs = load_arguments(invocation)
        except Exception as error:  # unpickling runs foreign code: a missing module, a class that refuses
            return reports.unavailable(error, "the arguments of the run could not be loaded")
        return self.call(invocation, host, args, kwargs)

    def call(
        self, invocation: Invocation, host: WorkerHost, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Report:
        """Execute one attempt with arguments that are already values."""
        value = self.run(invocation, host, args, kwargs)
        return value if isinstance(value, agent_service_pb2.ReportException) else reports.encoded(value)

    def run(
        self,
        invocation: Invocation,
        host: WorkerHost,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        keep: Callable[[Any], None] | None = None,
    ) -> Any:
        """Execute one attempt; returns the value, or a report of anything but an ordinary value.

        Args:
            invocation: The attempt.
            host: The worker.
            args: Positional arguments.
            kwargs: Keyword arguments.
            keep: Gets the exception object of a failed attempt, when it need not leave this process.
        """
        task = self.task
        attempt = Attempt(task, invocation, host, args, kwargs, self.log_prints)
        if self.log_prints:
            capture_prints()
        with attempt.context:
            if task.worker_work:
                report = attempt.prepare()
                if report is not None:
                    return report
            try:
                value = attempt.call_function()
            except Exception as error:
                if keep is not None:
                    keep(error)
                return attempt.failed(error)
            except RunCancelled:
                raise
            except BaseException as error:
                return attempt.interrupted(error)
            return attempt.ended(value)


def load_arguments(invocation: Invocation) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Unpickle the arguments of a run, with the results of upstream runs in their places."""
    if not invocation.args:
        return (), {}
    encoding = invocation.template.encoding
    if invocation.inputs is None:
        args, kwargs = decode(invocation.args, encoding)
    else:
        with resolving(invocation.inputs):
            args, kwargs = decode(invocation.args, encoding)
    return args, kwargs


class Attempt:
    """One attempt of one run."""

    __slots__ = ("_args", "_host", "_kwargs", "_name", "context", "invocation", "task")

    def __init__(
        self,
        task: TaskDefinition[..., Any],
        invocation: Invocation,
        host: WorkerHost,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        log_prints: bool,
    ) -> None:
        """Describe the attempt."""
        self.task = task
        self.invocation = invocation
        self._host = host
        self._args = args
        self._kwargs = kwargs
        self._name = ""
        self.context = TaskRunContext(
            task,
            TaskRun.from_invocation(invocation),
            lambda: task.signature.bind(args, kwargs),
            log_prints=log_prints,
            log_sink=host.log,
            host=host,
        )

    def prepare(self) -> Report | None:
        """Do what only some tasks ask for, before the function: name, cache key, hooks.

        Returns:
            What to report instead of executing, or None.
        """
        settings = self.task.settings
        try:
            self._render_name()
        except Exception as error:  # user code
            return self.failed(error)
        if self.task.has_cache_key and self._must_tell_key():
            cache_key = self.task.cache_key_of(self.context)
            if cache_key is not None:
                return reports.cache_key(cache_key, self._name)
        if settings.on_running:
            self._run_hooks(settings.on_running, State(StateType.RUNNING))
        return None

    def _must_tell_key(self) -> bool:
        """Whether the control plane has to know the cache key before the function may be called."""
        invocation = self.invocation
        known = bool(invocation.cache_key) and self.task.refresh_cache
        return not (invocation.cache_key_decided or known)

    def _render_name(self) -> None:
        template = self.task.settings.task_run_name
        if template is not None and not self.invocation.name:
            self._name = render_run_name(template, self.context.parameters)
            self.context.task_run.name = self.invocation.name = self._name

    def call_function(self) -> Any:
        """Call the user's function and wait for everything that it started."""
        value = self.task.fn(*self._args, **self._kwargs)
        if isinstance(value, _LAZY):
            value = _executed(value)
        scope = self.context.scope
        if scope is not None:  # the function has called other tasks
            wait_for_children(scope)
        return value

    def ended(self, value: Any) -> Any:
        """Handle what the function returned; returns the value, or a report."""
        if is_state(value):
            return self._ended_with(value)
        hooks = self.task.settings.on_completion
        if hooks:
            self._run_hooks(hooks, State(StateType.COMPLETED, data=value))
        return value if not self._name else reports.succeeded(value, self._name)

    def _ended_with(self, state: State[Any]) -> Report:
        """Handle a state that the function returned by hand."""
        if state.is_completed():
            self._run_hooks(self.task.settings.on_completion, state)
            return reports.state_by_hand(state, self._name)
        if state.is_cancelled():
            return reports.state_by_hand(state, self._name)
        return self._failed_with(state, reports.state_by_hand(state, self._name))

    def failed(self, error: Exception) -> Report:
        """Handle an exception of the function."""
        report = reports.failed(error, self._name)
        return self._failed_with(State(StateType.FAILED, message=report.message, data=error), report)

    def _failed_with(self, state: State[Any], report: agent_service_pb2.ReportException) -> Report:
        settings = self.task.settings
        retries_left = self.invocation.attempt <= settings.retries
        if retries_left and settings.retry_condition_fn is not None and not self._may_retry(state):
            report.not_retriable = True
            retries_left = False
        if not retries_left:
            self._run_hooks(settings.on_failure, state)
            self._log_end(state)
        return report

    def interrupted(self, error: BaseException) -> Report:
        """Handle a signal or an exit: the run crashed, and is not repeated."""
        report = reports.crashed(error, self._name)
        if isinstance(error, _OWN_EXITS):  # others come from the agent, which decides what they mean
            self._log_end(State(StateType.CRASHED, message=report.message))
        return report

    def _log_end(self, state: State[Any]) -> None:
        """Say that the run did not complete: nobody may ever ask for its result. Others end silently."""
        self._logger().error("Finished in state %s", state)

    def _may_retry(self, state: State[Any]) -> bool:
        """Ask the task's own condition; one that fails itself forbids the retry."""
        condition = self.task.settings.retry_condition_fn
        assert condition is not None
        try:
            return bool(_called(partial(condition, self.task, self.context.task_run, state)))
        except Exception:  # user code
            self._logger().exception("retry_condition_fn raised, so the run is not retried")
            return False

    def _run_hooks(self, hooks: tuple[Callable[..., Any], ...], state: State[Any]) -> None:
        """Call hooks in order; what they raise is logged and changes nothing."""
        if hooks:
            self.context.task_run.state = state
        for hook in hooks:
            try:
                _called(partial(hook, self.task, self.context.task_run, state))
            except Exception:  # user code
                name = getattr(hook, "__name__", repr(hook))
                self._logger().exception("hook '%s' raised, the state of the run is not changed", name)

    def _logger(self) -> Any:
        return get_run_logger(self.context)


class _OwnRunner:
    """An event loop that is closed with the thread it belongs to."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.pid = os.getpid()

    def __del__(self) -> None:
        # A forked child shares the loop's descriptors with its parent, which still needs them.
        if self.pid == os.getpid():
            self.runner.close()


class _Runners(threading.local):
    """Event loops for async functions: one per thread, kept, because making one costs 100 us."""

    own: _OwnRunner | None = None


_runners = _Runners()


def run_coroutine(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this thread's own loop, in the current context."""
    own = _runners.own
    if own is None or own.pid != os.getpid():
        own = _runners.own = _OwnRunner()
    return own.runner.run(work, context=contextvars.copy_context())


def run_beside_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; where a loop runs already, which could not, in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_coroutine(work)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="taskyard-hook") as thread:
        return thread.submit(lambda: context.run(asyncio.run, work)).result()


def close_runner() -> None:
    """Close this thread's loop, if it has one; a later coroutine gets a new one."""
    _runners.own = None


atexit.register(close_runner)


def _called(call: Callable[[], Any]) -> Any:
    """Call something that may be async."""
    value = call()
    return run_coroutine(value) if inspect.iscoroutine(value) else value


def _executed(value: Any) -> Any:
    """Execute what calling a coroutine function or a generator function only prepares."""
    if isinstance(value, CoroutineType):
        return run_coroutine(value)
    return list(value) if isinstance(value, GeneratorType) else run_coroutine(_collected(value))


async def _collected(values: AsyncGeneratorType[Any, Any]) -> list[Any]:
    return [value async for value in values]
