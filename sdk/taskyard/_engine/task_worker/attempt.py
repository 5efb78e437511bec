"""One attempt of a run that came from elsewhere, executed by this program; also the worker host of its code.

A function has a thread, a coroutine function the loop of whoever serves. Three things end an attempt from
outside: its run is cancelled, it is somebody else's now, or this program leaves. It is asked to end in the
same way each time, and what becomes of it then says its `Ending`. What was returned all the same, before the
asking was heard, is reported as long as somebody is interested: a result is worth more than a repetition.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import Context
from enum import Enum
from functools import partial
from typing import Any, Protocol

from taskyard._engine.execution import reports
from taskyard._engine.execution.coroutines import called_beside
from taskyard._engine.execution.interrupts import ThreadInterrupter
from taskyard._engine.execution.task_attempt import Report
from taskyard._engine.execution.task_body import TaskBody
from taskyard._engine.submission.ports import LocalExecutor
from taskyard._engine.submission.scope import Scope, inherited_now
from taskyard._engine.task_worker.large_values import NotStored, SessionValues
from taskyard._engine.thread_agent.forked import end_child, forks
from taskyard._engine.thread_agent.telling import Telling
from taskyard._engine.thread_agent.time_limits import TimeLimits, limits_of
from taskyard._network.session.session import Session
from taskyard.context import TaskRunContext, begin_anew
from taskyard.exceptions import RunCancelled, TaskRunTimeoutError
from taskyard.logging import captured_prints
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.arguments import read_arguments
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.clock import wall_us
from taskyard_contract.failures import type_name
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.states import ReportKind, StateReason

logger = logging.getLogger("taskyard.task_worker")

Open = Callable[[], Chunk]
"""Returns the chunk of an attempt; may have to fetch it."""


class Ending(Enum):
    """What becomes of an attempt that was asked to end."""

    CANCELLED = "its run was cancelled"
    DROPPED = "its run is somebody else's"
    LEASE_LOST = "the program that executed it had no connection for too long"
    LEFT = "the program that executed it was stopped"
    NOT_STORED = "its result could not be stored"


class AttemptOwner(Protocol):
    """What an attempt needs of the agent that it belongs to."""

    context: Context
    """The context variables of whoever serves."""
    values: SessionValues

    def log(self, entry: LogEntry) -> None:
        """Send a log record."""
        ...

    def progress(self, progress: pb.RunProgress) -> None:
        """Tell how far a run is."""
        ...

    def begun(self, attempt: "ServedAttempt") -> None:
        """Tell that an attempt has begun."""
        ...

    def waiting(self, attempt: "ServedAttempt") -> AbstractContextManager[None]:
        """Give the place of an attempt away meanwhile."""
        ...

    def nested(self) -> tuple[Session, LocalExecutor]:
        """Return what executes calls of other tasks."""
        ...

    def ended(
        self, attempt: "ServedAttempt", columns: pb.ReportColumns, ending: Ending | None, why: str = ""
    ) -> None:
        """Take the end of an attempt: its report, unless it has another `ending`."""
        ...


class ServedAttempt:
    """One attempt."""

    def __init__(
        self, owner: AttemptOwner, code: TaskBody, key: pb.RunKey, position: int, open_: Open
    ) -> None:
        """Be the attempt at a position of the chunk that `open_` returns."""
        self.key = key
        self.code = code
        self.in_loop = code.task.isasync
        """Whether it has no thread of its own."""
        self.began = 0.0
        """When it did, seconds since the epoch; 0 before."""
        self.ending: Ending | None = None
        self._owner = owner
        self._position = position
        self._open = open_
        self._chunk: Chunk | None = None
        self._lock = threading.Lock()
        self._telling = Telling(owner.progress)
        self._limits: TimeLimits | None = None
        self._stopper: ThreadInterrupter | None = None
        self._loop_task: asyncio.Task[None] | None = None

    # What a host offers.

    @property
    def expired(self) -> str:
        """Which limit of its time the attempt has exceeded, for people; "" for none."""
        return self._limits.passed if self._limits is not None else ""

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self.ending is not None

    @property
    def max_result_bytes(self) -> int:
        """The largest result that a server takes."""
        return self._owner.values.max_payload

    def log(self, entry: LogEntry) -> None:
        """Send a log record; this program has shown it itself."""
        self._owner.log(entry)

    def heartbeat(self, progress: pb.RunProgress) -> None:
        """Say how far the run is."""
        if self._limits is not None:
            self._limits.heard()
        self._telling.say(progress)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Say that the code waits for other runs meanwhile."""
        with self.calling(), self._owner.waiting(self):
            yield

    def calling(self) -> AbstractContextManager[None]:
        """Say that the code waits for a run that its own thread executes: it is not silent."""
        return self._limits.waiting() if self._limits is not None else nullcontext()

    def make_scope(self, context: TaskRunContext) -> Scope:
        """Return where calls made by this run go: into this program, as if a flow with threads made them."""
        run = context.task_run
        session, executor = self._owner.nested()
        return Scope(
            session,
            run.raw_flow_run_id,
            run.raw_id,
            log_prints=context.log_prints,
            queue=executor.queue,
            executor=executor,
            host=self,
            headers=context.headers,
            inherited=inherited_now(),
        )

    # What ends it.

    def stop(self, ending: Ending) -> None:
        """Ask it to end; from any thread. What it is asked first counts, but that nobody is interested."""
        with self._lock:
            if self.ending is None or ending is Ending.DROPPED:
                self.ending = ending
            if self._stopper is not None:
                self._stopper.interrupt(RunCancelled)
            task = self._loop_task
        if task is not None:
            with suppress(RuntimeError):  # the loop is closed, and all that was in it has ended
                task.get_loop().call_soon_threadsafe(task.cancel)

    # What executes it.

    def execute(self) -> None:
        """Execute it in this thread."""
        before, started = forks(), self._begin()
        try:
            outcome = self._owner.context.copy().run(self._in_thread)
        except BaseException as error:
            if forks() != before:
                end_child(error)
            outcome = self._unforeseen(error)
        if forks() != before:  # the task forked, and this is the child: the run is its parent's
            end_child(None)
        self._end(outcome, started)

    def refuse(self, why: RuntimeError) -> None:
        """Say that there is no thread for it: somebody else may have one."""
        logger.error("%s could not be executed: %s", self.code.task.name, why)
        self._owner.ended(self, pb.ReportColumns(), Ending.LEFT, str(why))

    def start_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin it in the loop that is running, in whose thread this is called."""
        self._begins = loop.create_task(self._in_loop(), context=self._owner.context.copy())

    async def _in_loop(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with self._lock:  # not before: of a task that is cancelled before it begins nothing is ever executed
            self._loop_task, stopped = task, self.ending is not None
        started = self._begin()
        outcome: Report
        try:
            begin_anew()
            interrupt = partial(loop.call_soon_threadsafe, task.cancel)
            outcome = _cancelled() if stopped else await self._awaited(interrupt)
        except BaseException as error:
            outcome = self._unforeseen(error)
        if self._owner.values.is_small(outcome):
            self._end(outcome, started)
        else:
            await asyncio.shield(called_beside(partial(self._end, outcome, started)))

    def _begin(self) -> int:
        self.began = time.time()
        self._owner.begun(self)
        return int(self.began * 1_000_000)

    def _in_thread(self) -> Report:
        begin_anew()
        stopper = ThreadInterrupter(TaskRunTimeoutError)
        with self._lock:
            if self.ending is not None:
                return _cancelled()
            self._stopper = stopper
        try:
            chunk = self._opened()
            limits = self._limits = limits_of(chunk.template, stopper.interrupt)
            if limits is not None:
                limits.start()
            outcome = self._in_time(self._called(chunk), chunk)
            stopper.close()  # in here, because an exception that was on its way may still be raised
        except RunCancelled as error:
            outcome = _cancelled(str(error))
        finally:
            stopper.close()
            if self._limits is not None:
                self._limits.stop()
        return outcome

    def _opened(self) -> Chunk:
        if self._chunk is None:
            self._chunk = self._open()
        return self._chunk

    def _called(self, chunk: Chunk) -> Report:
        invocation = chunk.invocation(self._position)
        refused = chunk.complete(invocation, self._position)
        if refused is not None:
            return refused
        with captured_prints() if self.code.log_prints else nullcontext():
            return self.code.execute(invocation, self)

    async def _awaited(self, interrupt: Callable[[], Any]) -> Report:
        # What may have to be fetched is, beside the loop, which goes on with other runs; not in threads of
        # the loop, because code in all of them may wait for this very run.
        chunk = await called_beside(self._opened)
        limits = self._limits = limits_of(chunk.template, interrupt)
        if limits is not None:
            limits.start()
        try:
            return self._in_time(await self._called_in_loop(chunk), chunk)
        finally:
            if limits is not None:
                limits.stop()

    async def _called_in_loop(self, chunk: Chunk) -> Report:
        invocation, code = chunk.invocation(self._position), self.code
        refused = await called_beside(partial(chunk.complete, invocation, self._position))
        if refused is not None:
            return refused
        try:
            arguments = await called_beside(partial(read_arguments, invocation))
        except Exception as error:  # unpickling runs foreign code
            what = "the arguments of the run could not be loaded"
            report = reports.unavailable(error, what, code.wire_of(invocation))
            return await called_beside(partial(code.refused, invocation, self, report))
        with captured_prints() if code.log_prints else nullcontext():
            return await code.call_async(invocation, self, *arguments)

    def _in_time(self, outcome: Report, chunk: Chunk) -> Report:
        """Say of a failure by whose fault it is, if that is the clock's."""
        expired = self.expired
        if not (expired and reports.is_failure(outcome) and isinstance(outcome, pb.ReportException)):
            return outcome
        if outcome.failure.type.endswith(TaskRunTimeoutError.__name__):
            # What is raised in another thread is only a class.
            wire = reports.wire_of(chunk.template)
            outcome = reports.failed(TaskRunTimeoutError(expired), outcome.run_name, wire)
        outcome.reason = StateReason.TIMED_OUT  # type: ignore[assignment]  # equal enums
        outcome.message = expired
        return outcome

    def _unforeseen(self, error: BaseException) -> Report:
        if self.ending is not None and not isinstance(error, Exception):
            return _cancelled()
        if isinstance(error, Exception):  # whatever it is: a run that is not reported is waited for for ever
            logger.exception("a run of '%s' could not be executed", self.code.task.name)
            return reports.failed(error)
        return reports.interrupted(error)

    def _end(self, outcome: Report, started: int) -> None:
        self._telling.say_last()
        duration = max(0, wall_us() - started)
        columns = pb.ReportColumns(base_us=started, started_us=[0], durations_us=[duration], results=[b""])
        ending, why = self._ending_with(outcome), ""
        try:
            if ending is None:
                self._write(outcome, columns)
        except Exception as error:  # another machine may have room, or this one later
            if not isinstance(error, NotStored):
                logger.exception("the end of a run of '%s' could not be reported", self.code.task.name)
            ending, why = Ending.NOT_STORED, f"{type_name(error)}: {error}"
        self._owner.ended(self, columns, ending, why)

    def _ending_with(self, outcome: Report) -> Ending | None:
        """Return what becomes of it; None if it is reported, as all is that was returned in time."""
        if self.ending in (None, Ending.CANCELLED, Ending.DROPPED):
            return self.ending
        succeeded = not isinstance(outcome, pb.ReportException) or int(outcome.kind) == ReportKind.SUCCEEDED
        return None if succeeded else self.ending

    def _write(self, outcome: Report, columns: pb.ReportColumns) -> None:
        placed = self._owner.values.placed(outcome, self._opened().invocation(self._position))
        if isinstance(placed, bytes):
            columns.results[0] = placed
        else:
            columns.exceptions.append(placed)


def _cancelled(message: str = "") -> pb.ReportException:
    return pb.ReportException(kind=pb.REPORT_KIND_CANCELLED, message=message)
