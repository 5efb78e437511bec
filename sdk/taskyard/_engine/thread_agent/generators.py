"""A generator task that is called directly: its code runs between two values that its caller asks for.

The run is RUNNING meanwhile. What the generator returns is its result; a caller that leaves early ends it,
which is no failure. What was handed over cannot be taken back, so an attempt that fails after its first value
is the last one; and no cached result can stand for values. Its time is looked at between values; neither it
nor its caller has to say anything of its progress while the other one is at work.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import Context
from typing import Any, Protocol

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution.interrupts import is_for_a_flow_around
from taskyard._engine.execution.reports import failed
from taskyard._engine.execution.task_attempt import TaskAttempt
from taskyard._engine.submission.ports import Arguments
from taskyard.context import active_transaction, begin_anew
from taskyard.logging import captured_prints
from taskyard_contract.execution import Invocation, WorkerHost


class Suspendable(WorkerHost, Protocol):
    """The attempt that is executed so."""

    def suspend(self, suspended: bool) -> bool:
        """Note that it waits for its caller, or goes on; says whether it may."""
        ...

    def check_time(self) -> None:
        """Raise `TaskRunTimeoutError` if its time is up."""
        ...

    def keep_failure(self, error: BaseException) -> None:
        """Keep what the task raised, for its caller."""
        ...

    def context_of_caller(self) -> Context:
        """Return the context variables that its code sees and changes."""
        ...


class GeneratorSteps:
    """One attempt, value by value."""

    def __init__(
        self, host: Suspendable, task: TaskDefinition[..., Any], invocation: Invocation, log_prints: bool
    ) -> None:
        """Describe the attempt; nothing is executed yet."""
        self._host = host
        self._task = task
        self._invocation = invocation
        own = task.settings.log_prints
        self._log_prints = log_prints if own is None else own
        self._attempt: TaskAttempt | None = None
        self._handed = False
        self._transaction: Any = None
        """What an asynchronous function has opened and not left, between two values."""
        self.end: Any = None
        """What the function returned, or a report of anything else, once it has ended."""
        self.for_the_caller: BaseException | None = None
        """What was raised in the caller's thread for a flow around the call."""

    def values(self, arguments: Callable[[], Arguments]) -> Generator[Any, Any, None]:
        """Execute the function while its values are taken."""
        context = self._host.context_of_caller()
        with captured_prints() if self._log_prints else nullcontext():
            generator = context.run(self._begun, arguments)
            if generator is None:
                return
            step: Callable[[], Any] = generator.__next__
            while True:
                try:
                    value = context.run(step)
                    self._host.check_time()
                except StopIteration as end:
                    context.run(self._ended, end.value)
                    return
                except BaseException as error:
                    context.run(self._failed, error)
                    generator.close()
                    return
                self._handed = True
                if self._host.suspend(True):
                    step = yield from self._taken(context, generator, value)
                if not self._host.suspend(False):
                    context.run(generator.close)
                    return

    def _taken(self, context: Context, generator: Any, value: Any) -> Any:
        """Hand a value over; returns what goes on with what the caller sent or threw."""
        try:
            sent = yield value
        except GeneratorExit:
            self._host.suspend(False)
            try:
                context.run(generator.close)
            except BaseException as error:  # its own, on the way out
                context.run(self._failed, error)
                raise
            context.run(self._ended, None)
            raise
        except BaseException as error:
            thrown = error
            return lambda: generator.throw(thrown)
        return lambda: generator.send(sent)

    async def values_async(self, arguments: Callable[[], Arguments]) -> AsyncGenerator[Any, None]:
        """Execute an asynchronous function while its values are taken."""
        with captured_prints() if self._log_prints else nullcontext():
            generator = self._begun(arguments, anew=False)
            while generator is not None:
                assert self._attempt is not None
                try:
                    with self._inside():
                        value = await anext(generator)
                    self._host.check_time()
                except StopAsyncIteration:
                    self._ended(None)
                    return
                except BaseException as error:
                    self._failed(error)
                    with self._inside():
                        await generator.aclose()
                    return
                self._handed = True
                try:
                    if self._host.suspend(True):
                        yield value
                except BaseException:
                    self._host.suspend(False)
                    with self._inside():
                        await generator.aclose()
                    self._ended(None)
                    raise
                if not self._host.suspend(False):
                    with self._inside():
                        await generator.aclose()
                    return

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Have the function see its run and the transactions that it opened, its caller those of its own."""
        assert self._attempt is not None
        around = active_transaction.get()
        active_transaction.set(self._transaction)
        try:
            with self._attempt.context:
                yield
        finally:
            self._transaction = active_transaction.get()
            active_transaction.set(around)

    def _begun(self, arguments: Callable[[], Arguments], anew: bool = True) -> Any:
        """Do what comes before the function, and call it; None when something was reported instead."""
        if anew:
            begin_anew()
        try:
            args, kwargs = arguments()
        except Exception as error:  # a value may not fit where its future was
            self.end = failed(error)
            return None
        self._invocation.cache_key_decided = True
        attempt = TaskAttempt(self._task, self._invocation, self._host, args, kwargs, self._log_prints)
        self._attempt = attempt
        if anew:
            attempt.context.__enter__()  # in a context of its own, which ends with it
        self.end = attempt.prepare() if self._task.worker_work else None
        return None if self.end is not None else self._task.fn(*args, **kwargs)

    def _ended(self, value: Any) -> None:
        assert self._attempt is not None
        self.end = self._attempt.ended(value)

    def _failed(self, error: BaseException) -> None:
        """Turn what the function raised into its report; what ends the caller's flow is raised once more."""
        assert self._attempt is not None
        self._host.keep_failure(error)
        around = is_for_a_flow_around(error)
        if isinstance(error, Exception):
            self.end = self._attempt.failed(error, last=self._handed or around)
        else:
            self.end = self._attempt.interrupted(error)
        if around or not isinstance(error, Exception):
            self.for_the_caller = error
