"""One attempt of a run that is executed by a thread of this process.

Invariant: the value, or the exception, is kept in the run's future before it is reported, so that users get
the very object that their task made.
"""

import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager, nullcontext
from contextvars import Context
from types import NoneType
from typing import Any, Final, Protocol

from taskyard._engine.execution.interrupts import ThreadInterrupter, is_for_a_flow_around
from taskyard._engine.execution.reports import PICKLES, encoded, failed, interrupted, is_failure, wire_of
from taskyard._engine.execution.task_body import TaskBody
from taskyard._engine.submission.ports import Arguments, LocalExecutor
from taskyard._engine.submission.scope import Scope
from taskyard._engine.thread_agent.attempt_logs import AttemptLogs
from taskyard._engine.thread_agent.forked import end_child, forks
from taskyard._engine.thread_agent.generators import GeneratorSteps
from taskyard._engine.thread_agent.kept import Kept, Results
from taskyard._engine.thread_agent.own_values import copied
from taskyard._engine.thread_agent.telling import Telling
from taskyard._engine.thread_agent.threads import AttemptThreads
from taskyard._engine.thread_agent.time_limits import TimeLimits, limits_of
from taskyard._network.session.blobs import pieces_of
from taskyard._network.session.session import Session
from taskyard.context import TaskRunContext, begin_anew
from taskyard.exceptions import RunCancelled, TaskRunTimeoutError, TaskyardError
from taskyard.logging import captured_prints
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_contract.clock import wall_us
from taskyard_contract.encodings import BUFFERS, encode
from taskyard_contract.execution import Invocation
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.states import ReportKind, StateReason
from taskyard_contract.values.layout import LaidOut

logger = logging.getLogger("taskyard.task_runners")


_UNTOLD: Final = TaskRunTimeoutError().args


class AttemptOwner(LocalExecutor, Protocol):
    """What an attempt needs of the agent that it belongs to."""

    session: Session
    threads: AttemptThreads
    coroutines: AttemptThreads
    results: Results
    logs: AttemptLogs

    def counts_apart(self) -> bool:
        """Whether coroutine functions have places of their own."""
        ...

    def progress(self, progress: pb.RunProgress) -> None:
        """Tell how far a run is."""
        ...

    def ended(self, attempt: "ThreadAttempt", columns: pb.ReportColumns | None) -> None:
        """Report an attempt that ended; None confirms its cancellation."""
        ...


class ThreadAttempt:
    """One attempt; also the worker host that the task's code sees."""

    def __init__(
        self,
        agent: AttemptOwner,
        kept: "Kept[ThreadAttempt]",
        key: pb.RunKey,
        template: template_pb2.RunTemplate,
        body: pb.ChunkBody,
        ordinal: int,
        extra: pb.AttemptExtra | None,
    ) -> None:
        """Describe a run that was assigned, and whose call was kept when it was submitted."""
        self._agent = agent
        self._kept = kept
        self.key = key
        self.apart = template.coroutine and agent.counts_apart()
        """Whether it has a place that is for coroutine functions."""
        self.threads = agent.coroutines if self.apart else agent.threads
        self.dropped = False
        self.reported = False
        self.for_the_caller: BaseException | None = None
        """What was raised in the caller's thread for a flow around the call, and ended this attempt."""
        self._cancelled = self._suspended = False
        self._forks = self.began_us = 0
        self._turn = ExitStack()
        """Which of the two waits: a generator, or the run that takes its values."""
        self._limits: TimeLimits | None = None
        self._stopper: ThreadInterrupter | None = None
        self._lock = threading.Lock()
        self._telling = Telling(agent.progress)
        extra = extra or pb.AttemptExtra()
        self._invocation = Invocation(
            key.run_id,
            key.epoch,
            template,
            b"",
            flow_run_id=body.flow_run_id,
            flow_run_name=body.flow_run_name,
            parent_run_id=extra.caller_run_id,
            ordinal=ordinal,
            name=extra.name,
            attempt=extra.attempt or 1,
            cache_key=extra.cache_key,
            cache_key_decided=extra.cache_key_decided,
            extra=extra,
        )

    # What a host offers.

    @property
    def expired(self) -> str:
        """Which limit of its time the attempt has exceeded, for people; "" for none."""
        return self._limits.passed if self._limits is not None else ""

    def log(self, entry: LogEntry) -> None:
        """Send a log record; this process has shown it itself."""
        self._agent.logs.add(entry)

    def heartbeat(self, progress: pb.RunProgress) -> None:
        """Say how far the run is: a few words a second, the last one before it ends in any case."""
        if self._limits is not None:
            self._limits.heard()
        self._telling.say(progress)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Say that the code waits for other runs meanwhile."""
        with self.calling(), self.threads.blocked():
            yield

    def calling(self) -> AbstractContextManager[None]:
        """Say that the code waits for a run that its own thread executes: it is not silent."""
        return self._limits.waiting() if self._limits is not None else nullcontext()

    def make_scope(self, context: TaskRunContext) -> Scope:
        """Return where calls made by this run go: to this process again."""
        run = context.task_run
        return Scope(
            self._agent.session,
            run.raw_flow_run_id,
            run.raw_id,
            log_prints=context.log_prints,
            queue=self._agent.queue,
            executor=self._agent,
            host=self,
            task_runner=self._kept.scope.task_runner,
            headers=run.headers,
            inherited=self._kept.scope.inherited,
        )

    # What its thread calls, and whoever ends it.

    def execute(self) -> None:
        """Execute the attempt in this thread and report it."""
        started, self._forks = wall_us(), forks()
        self.began_us = started
        try:
            report = self._kept.context.copy().run(self._executed)
        except BaseException as error:
            if not self._is_copied():
                report = self._report_of_failure(error)
            elif self._kept.direct:
                raise
            else:
                end_child(error)
        if self._is_copied():
            if not self._kept.direct:
                end_child(None)
            return
        self._report(report, started)

    def _is_copied(self) -> bool:
        """Say whether the task forked, and this is the child: it ends as a child, the run is its parent's."""
        return self._forks != forks()

    def _report_of_failure(self, error: BaseException) -> pb.ReportException:
        self._note_for_the_caller(error)  # raised from outside, between what the body does
        if isinstance(error, Exception) and self.for_the_caller is None:
            # Whatever it is: a run that is not reported is waited for for ever.
            logger.exception("the run could not be executed")
            return failed(error)
        return self._ended_with_caller(interrupted(error))

    def give_up(self, why: BaseException) -> None:
        """Report that nobody will execute it, because that ends its caller."""
        report = interrupted(why)
        report.not_retriable = True  # another attempt would not be executed either
        self._report(report, wall_us())

    def iterate(self) -> Generator[Any, Any, None]:
        """Execute the attempt of a generator task while its values are taken, and report it."""
        with self._stepping() as steps:
            yield from steps.values(self._arguments)

    async def iterate_async(self) -> AsyncGenerator[Any, None]:
        """Execute the attempt of an asynchronous generator task while its values are taken, and report it."""
        with self._stepping() as steps:
            async with aclosing(steps.values_async(self._arguments)) as values:
                async for value in values:
                    yield value

    @contextmanager
    def _stepping(self) -> Iterator[GeneratorSteps]:
        started = self.began_us = wall_us()
        self._limits = limits_of(self._invocation.template)
        steps = GeneratorSteps(self, self._kept.task, self._invocation, self._kept.scope.log_prints)
        try:
            with self._turn:
                self._turn.enter_context(calling(self._kept))
                yield steps
        finally:
            if not self.reported:
                self._report(self._report_of(steps.end), started)
        if steps.for_the_caller is not None:
            raise steps.for_the_caller

    def abandon(self) -> None:
        """Report the end of a generator that waits for its caller, whose program ends."""
        with self._lock:
            if not self._suspended or self.reported:
                return
            self.reported = True
        self._report(encode(None), wall_us())

    def suspend(self, suspended: bool) -> bool:
        """Note that its generator waits for its caller, or goes on; says whether it may."""
        with self._lock:
            self._suspended = suspended
            may_go_on = not self._cancelled
        self._turn.close()
        self._turn.enter_context(self.calling() if suspended else calling(self._kept))
        return may_go_on

    def check_time(self) -> None:
        """Look between two values at whether its time is up.

        Raises:
            TaskRunTimeoutError: It is.
        """
        if self._limits is not None and self._limits.check():
            raise TaskRunTimeoutError(self.expired)

    def keep_failure(self, error: BaseException) -> None:
        """Keep what the task raised, for its caller."""
        if isinstance(error, Exception):
            self._kept.future.keep_local(error)

    def context_of_caller(self) -> Context:
        """Return the context variables that its code sees and changes."""
        return self._kept.context.copy()

    def refuse(self, why: RuntimeError) -> None:
        """Report that there is no thread for it, and would be none for another attempt."""
        report = failed(TaskyardError(f"the run could not be executed: {why}"))
        report.not_retriable = True
        self._report(report, wall_us())

    def _report(self, report: bytes | pb.ReportException, started: int) -> None:
        self._telling.say_last()
        duration = max(0, wall_us() - started)
        columns = pb.ReportColumns(base_us=started, started_us=[0], durations_us=[duration])
        if isinstance(report, bytes):
            columns.results.append(report)
        else:
            columns.results.append(b"")
            columns.exceptions.append(report)
        self._agent.ended(self, None if self._cancelled else columns)
        self.reported = True

    def cancel(self) -> None:
        """End the attempt as soon as its thread executes Python."""
        with self._lock:
            self._cancelled = True
            if self._suspended:  # nobody can say when its caller asks for the next value
                self._agent.ended(self, None)
                self.reported = True
            if self._stopper is not None:
                self._stopper.interrupt(RunCancelled)

    def _executed(self) -> bytes | pb.ReportException:
        begin_anew()
        stopper = ThreadInterrupter(TaskRunTimeoutError)
        with self._lock:
            if self._cancelled:
                return pb.ReportException(kind=pb.REPORT_KIND_CANCELLED)
            self._stopper = stopper
        limits = self._limits = limits_of(self._invocation.template, stopper.interrupt)
        if limits is not None:
            limits.start()
        try:
            value = self._call()
            stopper.close()  # in here, because an exception that was on its way may still be raised
        except RunCancelled as error:
            self._note_for_the_caller(error.__context__)  # this may have come while that was taken care of
            value = pb.ReportException(kind=pb.REPORT_KIND_CANCELLED, message=str(error))
        finally:
            stopper.close()
            if limits is not None:
                limits.stop()
        return self._report_of(value)

    def _call(self) -> Any:
        kept = self._kept
        try:
            args, kwargs = self._arguments()
        except Exception as error:  # a value may not fit where its future was, in a set for example
            return failed(error)
        body = TaskBody(kept.task, kept.scope.log_prints)
        with captured_prints() if body.log_prints else nullcontext():
            return body.run(self._invocation, self, args, kwargs, self._ended_by, self._if_it_has_a_form)

    def _if_it_has_a_form(self, value: Any, invocation: Invocation) -> Any:
        """Return a value, or why it has no form in the encoding that is asked for: hooks hear of that."""
        wire, task = wire_of(invocation.template), self._kept.task
        if wire is PICKLES or not task.settings.on_failure:
            return value
        report = encoded(value, wire, task.has_cache_key)
        return report if is_failure(report) else value

    def _arguments(self) -> Arguments:
        return self._kept.arguments(self._agent.results)

    def _note_for_the_caller(self, error: BaseException | None) -> None:
        if error is not None and self._kept.direct and is_for_a_flow_around(error):
            self.for_the_caller = error

    def _ended_by(self, error: BaseException) -> None:
        if self._is_copied():
            raise error
        self._note_for_the_caller(error)
        if self.expired and isinstance(error, TaskRunTimeoutError) and error.args == _UNTOLD:
            error.args = (self.expired,)  # what is raised in another thread is only a class
        if isinstance(error, Exception):
            self._kept.future.keep_local(error)

    def _ended_with_caller(self, report: pb.ReportException) -> pb.ReportException:
        if self.for_the_caller is not None:
            report.not_retriable = True  # its caller is being ended
        return report

    def _report_of(self, value: Any) -> bytes | pb.ReportException:
        """Turn what the body gave into a report; keeps ordinary values."""
        if isinstance(value, pb.ReportException):
            self._ended_with_caller(value)
            if self.expired and int(value.kind) == ReportKind.FAILED:
                value.reason = StateReason.TIMED_OUT  # type: ignore[assignment]  # equal enums
                value.message = self.expired
            return value
        wire = wire_of(self._invocation.template)
        data = encoded(value, wire, self._kept.task.has_cache_key)
        if wire is not PICKLES and isinstance(data, pb.ReportException):
            return data  # whoever asks for an encoding wants the value recorded
        task = self._kept.task
        if task.results is None:  # else what is read is what was written
            self._kept.future.keep_local(value)
        if type(value) is not NoneType and task.results is None and task.cache_result_in_memory:
            self._agent.results[self._kept.future] = copied(value)
        session = self._agent.session
        if isinstance(data, bytes) and len(data) <= session.max_inline_bytes:
            return data
        report = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED)
        if isinstance(data, bytes | LaidOut):
            payload = self._stored(data, wire.results)
            if payload is not None:
                report.result.CopyFrom(payload)
        # A value that cannot be recorded stays in this process: that is what this runner is for.
        return report

    def _stored(self, data: bytes | LaidOut, encoding: str) -> common_pb2.Payload | None:
        """Store a result that is too large for a report; None if it cannot be."""
        session, run = self._agent.session, self._invocation
        _, size = pieces_of(data)
        if size > session.max_payload_bytes:
            return None
        try:
            blob = session.blobs.put_result(data, run.run_id, run.epoch)
        except (TaskyardError, TimeoutError, OSError) as error:
            logger.warning("a result of %d bytes could not be stored: %s", size, error)
            return None
        return common_pb2.Payload(encoding=BUFFERS if isinstance(data, LaidOut) else encoding, blob=blob)


def calling(kept: Kept[ThreadAttempt]) -> AbstractContextManager[None]:
    """Let the run that called another one directly, in this thread, say nothing meanwhile."""
    caller = kept.scope.host
    said: Callable[[], AbstractContextManager[None]] = getattr(caller, "calling", nullcontext)
    return said()
