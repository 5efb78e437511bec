"""One attempt of one task run, where it is executed: name, cache key, function, hooks, retry condition.

Everything that only some tasks ask for is skipped by one test each, because most attempts are a function and
nothing else.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.records import TaskRun
from taskyard._data.runs.state import State, is_state
from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution import reports
from taskyard._engine.execution.coroutines import LAZY, awaited, called, executed
from taskyard._engine.execution.hooks import run_hooks
from taskyard._engine.futures.waiting import wait_for_all_inside, wait_for_all_inside_async
from taskyard.context import TaskRunContext
from taskyard.exceptions import NotSerializable, ResultStorageError
from taskyard.logging import get_run_logger
from taskyard_api.v1 import agent_service_pb2
from taskyard_contract.encodings import PICKLE
from taskyard_contract.execution import Invocation, WorkerHost
from taskyard_contract.for_people import run_lines
from taskyard_contract.states import ReportKind, RunState, StateReason, StateType
from taskyard_contract.values.layout import LaidOut

if TYPE_CHECKING:
    from taskyard._engine.results.plans import ResultPlan

Exceptional: Final = agent_service_pb2.ReportException
ROLLED_BACK: Final = "RolledBack"
"""Name of the state of a run that completed and was undone then."""
Report = bytes | LaidOut | agent_service_pb2.ReportException
Write = Callable[[Any, Invocation], Any]


class TaskAttempt:
    """One attempt of one run."""

    __slots__ = ("_args", "_cache_key", "_kwargs", "_name", "_record_key", "context", "invocation", "task")

    def __init__(
        self,
        task: TaskDefinition[..., Any],
        invocation: Invocation,
        host: WorkerHost,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        log_prints: bool,
    ) -> None:
        """Put the context of the attempt together; nothing of the user's is called yet."""
        self.task = task
        self.invocation = invocation
        self._args = args
        self._kwargs = kwargs
        self._name = self._cache_key = self._record_key = ""
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
        if self.task.results is not None:
            report = self._found(self.task.results)
            if report is not None:
                return report
        if settings.on_running:
            again = "Retrying" if self.invocation.attempt > 1 else None
            self._run_hooks(settings.on_running, State(StateType.RUNNING, name=again))
        return None

    def _found(self, results: "ResultPlan") -> Report | None:
        """Look for the record of an equal run, and say where that of this one will be.

        Returns:
            What to report instead of executing, or None.
        """
        run = self.invocation
        cache_key = self._cache_key = results.own_key(run.cache_key) if self.task.has_cache_key else ""
        try:
            self._record_key = results.key(cache_key, self.context.parameters, run.run_id, run.epoch)
            if not cache_key or self.task.refresh_cache or results.storage is None:
                return None
            found = results.find(self._record_key, cache_key)
            if found is None:
                return None
            report = reports.from_storage(found, self._name, self._wire())
        except Exception as error:  # of the template, or of storage: which of the two, it says itself
            return self.failed(error)
        self._run_hooks(
            self.task.settings.on_completion, State(StateType.COMPLETED, name="Cached", decode=found.value)
        )
        return report

    def _must_tell_key(self) -> bool:
        """Whether the control plane has to know the cache key before the function may be called."""
        invocation = self.invocation
        known = bool(invocation.cache_key) and self.task.refresh_cache
        return not (invocation.cache_key_decided or known)

    def _render_name(self) -> None:
        template = self.task.settings.task_run_name
        if template is not None and not self.invocation.name:
            self._name = render_run_name(template, self.context.parameters, f"task '{self.task.name}'")
            self.context.task_run.name = self.invocation.name = self._name

    def call_function(self) -> Any:
        """Call the user's function and wait for everything that it started."""
        value = self.task.fn(*self._args, **self._kwargs)
        if isinstance(value, LAZY):
            value = executed(value)
        scope = self.context.scope
        if scope is not None:  # the function has called other tasks
            wait_for_all_inside(scope)
        return value

    async def await_function(self) -> Any:
        """Call the user's function in the loop that is running, and wait for everything that it started."""
        value = self.task.fn(*self._args, **self._kwargs)
        if isinstance(value, LAZY):
            value = await awaited(value)
        scope = self.context.scope
        if scope is not None:
            await wait_for_all_inside_async(scope)
        return value

    def ended(self, value: Any, write: Write | None = None) -> Any:
        """Handle what the function returned.

        Args:
            value: The value.
            write: Encodes it, or returns a report of why it cannot be; without one it stays as it is.

        Returns:
            The value as it is, or was written, or a report.
        """
        if is_state(value):
            return self._ended_with(value)
        given = value
        if self.task.results is not None:
            try:
                value = self._stored(value, self.task.results)
            except NotSerializable as error:
                return self.refused(reports.refused_value(error, self._wire()))
            except ResultStorageError as error:
                return self.failed(error)
        if self._name:
            report: Any = reports.succeeded(value, self._name, self._wire())
        else:
            report = value if write is None else write(value, self.invocation)
        settings = self.task.settings
        if type(report) is Exceptional and reports.is_failure(report):
            return self.refused(report)
        if settings.on_completion or settings.on_failure or settings.on_commit or self.task.materializes:
            return self._hooked(given, value, report)
        return report

    def _hooked(self, given: Any, value: Any, report: Any) -> Any:
        """Call the hooks of a run that has returned something; returns what is reported of it."""
        settings = self.task.settings
        size, limit = _size(report), getattr(self.context.host, "max_result_bytes", 0)
        if limit and size > limit:  # said by its worker of results of other tasks
            return self.refused(reports.too_large(size, limit, self._name, self._wire()), last=False)
        name = None
        if settings.on_commit and not self._commits(given):
            report, name = self._rolled_back(value), ROLLED_BACK
        state = State[Any](StateType.COMPLETED, name=name, data=given)
        self._run_hooks(settings.on_completion, state)
        if self.task.materializes:
            self._note_assets(state)
        return report

    def _commits(self, value: Any) -> bool:
        """Commit the transaction that the run is by itself; says whether its hooks let it.

        Where the run is a part of another transaction its task has no such hooks here: who opened that, calls
        them when it ends.
        """
        from taskyard._engine.transactions.own import own_transaction  # few tasks have such hooks

        settings = self.task.settings
        own = own_transaction(self.context)
        own.stage(value, settings.on_rollback, settings.on_commit)
        return own.commit()

    def _rolled_back(self, value: Any) -> Report:
        """Report a value whose run was undone: it completed, and stands for no other run."""
        if self.task.results is not None and self.task.results.storage is not None and self._cache_key:
            self.task.results.withdraw(self._record_key)
        report = reports.succeeded(value, self._name, self._wire())
        if not reports.is_failure(report):
            report.state_name, report.message = ROLLED_BACK, "its hooks on_commit did not let it commit"
            if self.task.has_cache_key:
                # As of what comes from the cache: it is not put there.
                report.reason = StateReason.CACHED  # type: ignore[assignment]  # equal enums
        return report

    def _stored(self, value: Any, results: "ResultPlan") -> Any:
        """Write a value into its storage; returns what is reported of it.

        Whoever sent JSON reads no pickles, and so no references: it gets the value as well.
        """
        stored = results.store(value, self._record_key, self._cache_key)
        return stored if self._wire().results == PICKLE else value

    def say_completed(self, report: Any) -> None:
        """Say that the run completed, if it did; of all other ends the control plane does."""
        if type(report) is not Exceptional:
            self._logger().debug("%s", run_lines.finished(RunState.COMPLETED, StateReason.NONE, "", ""))
        elif int(report.kind) == ReportKind.SUCCEEDED:
            state = run_lines.finished(
                RunState.COMPLETED, StateReason.NONE, report.state_name, report.message
            )
            self._logger().debug("%s", state)

    def refused(self, report: agent_service_pb2.ReportException, *, last: bool = True) -> Report:
        """Handle an attempt that failed beside its function: by its arguments, or the form of its value."""
        report.run_name = self._name
        return self._failed_with(reports.state_of(report), report, last)

    def _ended_with(self, state: State[Any]) -> Report:
        """Handle a state that the function returned by hand."""
        if state.is_completed():
            if self.task.settings.on_commit and not self._commits(state.data):
                return self._rolled_back(state.data)
            self._run_hooks(self.task.settings.on_completion, state)
            if self.task.materializes:
                self._note_assets(state)
            return reports.state_by_hand(state, self._name, self._wire())
        if state.is_cancelled():
            return reports.state_by_hand(state, self._name, self._wire())
        return self._failed_with(state, reports.state_by_hand(state, self._name, self._wire()))

    def failed(self, error: Exception, *, last: bool = False) -> Report:
        """Handle an exception of the function; `last` says that it is not to be called again."""
        report = reports.failed(error, self._name, self._wire())
        # Of the attempt itself, where this process watches its time: the state that people see says so.
        expired: str = getattr(self.context.host, "expired", "")
        if not expired:
            return self._failed_with(
                State(StateType.FAILED, message=report.message, data=error), report, last
            )
        report.message, report.reason = expired, StateReason.TIMED_OUT  # type: ignore[assignment]  # equal enums
        state = State[Any](StateType.FAILED, name="TimedOut", message=expired, data=error)
        return self._failed_with(state, report, last)

    def _failed_with(
        self, state: State[Any], report: agent_service_pb2.ReportException, last: bool = False
    ) -> Report:
        settings = self.task.settings
        # The template's: whoever calls a task by its name says how often it may be repeated.
        retries_left = not last and self.invocation.attempt <= self.invocation.template.retry.max_retries
        report.not_retriable = last
        if retries_left and settings.retry_condition_fn is not None and not self._may_retry(state):
            report.not_retriable = True
            retries_left = False
        if not retries_left:
            self._run_hooks(settings.on_failure, state)
            if self.task.materializes:
                self._note_assets(state)
        return report

    def _note_assets(self, state: State[Any]) -> None:
        """Record what became of the assets of the run, which ends in this state for good."""
        from taskyard._engine.execution.materializing import note_end  # few tasks have assets

        note_end(self.task, self.context, self.invocation, state)

    def interrupted(self, error: BaseException) -> Report:
        """Handle a signal or an exit: the run crashed, and is not repeated."""
        return reports.interrupted(error, self._name, self._wire())

    def _may_retry(self, state: State[Any]) -> bool:
        """Ask the task's own condition; one that fails itself forbids the retry."""
        condition = self.task.settings.retry_condition_fn
        assert condition is not None
        try:
            return bool(called(partial(condition, self.task, self.context.task_run, state)))
        except Exception:  # user code
            self._logger().exception("retry_condition_fn raised, so the run is not retried")
            return False

    def _run_hooks(self, hooks: tuple[Callable[..., Any], ...], state: State[Any]) -> None:
        if hooks:
            run_hooks(hooks, self.task, self.context, state)

    def _wire(self) -> reports.Wire:
        return reports.wire_of(self.invocation.template)

    def _logger(self) -> Any:
        return get_run_logger(self.context)


def _size(report: Any) -> int:
    """Return how large a result is; 0 for what has not been written."""
    if isinstance(report, Exceptional):
        return len(report.result.data)
    return report.size if isinstance(report, LaidOut) else len(report) if type(report) is bytes else 0
