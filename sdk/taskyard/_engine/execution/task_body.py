"""What a worker executes for a task: the user's function inside everything that makes it a task.

Implements `taskyard_contract.execution.TaskCode`. Invariant: `execute` returns for every attempt, whatever
user code does; only the end of the process itself is left to the agent to notice.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

from taskyard import _durable_names
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution import reports
from taskyard._engine.execution.coroutines import called_beside
from taskyard._engine.execution.task_attempt import Report, TaskAttempt, Write
from taskyard.exceptions import RunCancelled, TaskRunTimeoutError
from taskyard.logging import capture_prints, configure, wants_completions
from taskyard_api.v1 import agent_service_pb2
from taskyard_contract.arguments import read_arguments
from taskyard_contract.execution import Invocation, WorkerHost


class TaskBody:
    """The code of a task as a worker holds it."""

    _latest: tuple[object, reports.Wire] = (None, reports.PICKLES)
    """The template of the run before, nearly always that of the next one as well, and how its runs report."""

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
            args, kwargs = read_arguments(invocation)
        except Exception as error:  # unpickling runs foreign code: a missing module, a class that refuses
            wire = self.wire_of(invocation)
            report = reports.unavailable(error, "the arguments of the run could not be loaded", wire)
            return self.refused(invocation, host, report)
        return self.call(invocation, host, args, kwargs)

    def call(
        self, invocation: Invocation, host: WorkerHost, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Report:
        """Execute one attempt with arguments that are already values."""
        report: Report = self.run(invocation, host, args, kwargs, write=self._written)
        return report

    def refused(
        self, invocation: Invocation, host: WorkerHost, report: agent_service_pb2.ReportException
    ) -> Report:
        """Report an attempt whose function cannot be called, after its hooks have heard of it."""
        attempt = TaskAttempt(self.task, invocation, host, (), {}, self.log_prints)
        with attempt.context:
            return attempt.refused(report)

    def _written(self, value: Any, invocation: Invocation) -> Report:
        return reports.encoded(value, self.wire_of(invocation), self.task.has_cache_key)

    def wire_of(self, invocation: Invocation) -> reports.Wire:
        """Return how a run reports: asked of a template once for all of its runs."""
        template, wire = self._latest
        if template is not invocation.template:
            wire = reports.wire_of(invocation.template)
            self._latest = (invocation.template, wire)
        return wire

    def run(
        self,
        invocation: Invocation,
        host: WorkerHost,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        keep: Callable[[Any], None] | None = None,
        write: Write | None = None,
    ) -> Any:
        """Execute one attempt; returns the value, or a report of anything but an ordinary one.

        Args:
            invocation: The attempt.
            host: The worker.
            args: Positional arguments.
            kwargs: Keyword arguments.
            keep: Gets the exception object that ended the attempt, when it need not leave this process.
            write: Encodes the value, see `TaskAttempt.ended`.
        """
        task = self.task
        attempt = TaskAttempt(task, invocation, host, args, kwargs, self.log_prints)
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
                if keep is not None:
                    keep(error)
                return attempt.interrupted(error)
            return self._ended(attempt, value, write)

    def _ended(self, attempt: TaskAttempt, value: Any, write: Write | None) -> Any:
        report = attempt.ended(value, write)
        if wants_completions():
            attempt.say_completed(report)
        return report

    async def execute_async(self, invocation: Invocation, host: WorkerHost) -> Report:
        """Execute one attempt of a coroutine function, among others in the loop that is running."""
        try:
            args, kwargs = read_arguments(invocation)
        except Exception as error:
            wire = self.wire_of(invocation)
            report = reports.unavailable(error, "the arguments of the run could not be loaded", wire)
            refused: Report = await self._beside(partial(self.refused, invocation, host, report))
            return refused
        return await self.call_async(invocation, host, args, kwargs)

    async def call_async(
        self, invocation: Invocation, host: WorkerHost, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Report:
        """Do so with arguments that are already values."""
        report: Report = await self.run_async(invocation, host, args, kwargs, self._written)
        return report

    async def run_async(
        self,
        invocation: Invocation,
        host: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        write: Write | None = None,
    ) -> Any:
        """Execute one attempt in a loop; returns the value, or a report of anything but an ordinary one.

        `host.expired` and `host.cancelled` say why it was cancelled; hooks and other functions around the
        user's own get a thread, because they may wait. `write` encodes the value, see `TaskAttempt.ended`.
        """
        attempt = TaskAttempt(self.task, invocation, host, args, kwargs, self.log_prints)
        if self.log_prints:
            capture_prints()
        with attempt.context:
            if self.task.worker_work and (report := await called_beside(attempt.prepare)) is not None:
                return report
            try:
                value = await attempt.await_function()
                if not host.expired:
                    return await self._beside(partial(self._ended, attempt, value, write))
                failure: Exception = TaskRunTimeoutError(host.expired)
            except Exception as error:
                failure = error
            except BaseException as error:
                if not host.expired:
                    if host.cancelled:
                        raise
                    return attempt.interrupted(error)
                failure = TaskRunTimeoutError(host.expired)
                failure.__cause__ = error
            return await self._beside(partial(attempt.failed, failure))

    async def _beside(self, call: Callable[[], Any]) -> Any:
        """Say how an attempt has ended: in a thread where user code, or storage, is called for it."""
        settings = self.task.settings
        hooks = settings.on_completion or settings.on_failure or settings.on_commit
        waits = hooks or settings.retry_condition_fn or self.task.materializes
        return await called_beside(call) if waits or self.task.results is not None else call()
