"""Task runners: where the task runs of a flow are executed.

Invariant: the control plane records and decides the same things for all of them; a runner only says who
executes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, TypeVar

from taskyard import settings
from taskyard._durable_names import public
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.flow_runs.task_runner import TaskRunner
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.submission.direct_calls import ended_call, wait_for_call
from taskyard._engine.submission.ports import Service
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._engine.submission.submitting import submit_one
from taskyard._network.session.session import Session
from taskyard.exceptions import ConfigurationError

R = TypeVar("R")


@public("taskyard.task_runners")
class AgentTaskRunner(TaskRunner):
    """Agents execute the runs, in processes of their own, on this machine or others. The default."""

    def serving(self, session: Session) -> AbstractContextManager[Service]:
        """Return an entry that serves nothing: the runs go where their queues are served."""
        return nullcontext(Service())


@public("taskyard.task_runners")
class ThreadPoolTaskRunner(TaskRunner):
    """Threads of this process execute the runs: closures, breakpoints and values that cannot be pickled work.

    Each run has values of its own, as in an agent, unless its call holds what `pickle` cannot write: then it
    gets the very objects. Tasks that are called directly run in the calling thread. `timeout_seconds` and
    cancellation raise an exception in the task's thread, at its next bytecode: a call that blocks outside of
    Python ends first.
    """

    coroutines = 0
    """How many async tasks go on beside those that `max_workers` counts; 0 when it counts them as well."""

    def __init__(self, max_workers: int | None = None) -> None:
        """Use at most `max_workers` threads at a time.

        By default as many as Python's own pools use, and beside them up to 100 for async tasks, which mostly
        wait: a number that somebody gives is meant for all tasks.

        Raises:
            ValueError: `max_workers` is less than 1.
        """
        self.coroutines = 0 if max_workers else MOST_COROUTINES
        self.max_workers = checked_workers(max_workers) or min(32, (os.cpu_count() or 1) + 4)

    @contextmanager
    def serving(self, session: Session) -> Iterator[Service]:
        """Serve the session's own queue in this process."""
        from taskyard._engine.thread_agent.serving import serve_locally

        with serve_locally(session, self.max_workers, self.coroutines) as executor:
            yield Service(executor.queue, executor)

    def __repr__(self) -> str:
        """Show it as it is written."""
        return f"{type(self).__name__}(max_workers={self.max_workers})"


@public("taskyard.task_runners")
class SequentialTaskRunner(TaskRunner):
    """This process executes one run after the other, each when it is submitted.

    `submit` returns when its run has ended: a plain function is executed in the thread that submits it. So
    does `map`, when all of its runs have.
    """

    def serving(self, session: Session) -> AbstractContextManager[Service]:
        """Serve the session's own queue in this process, with one place."""
        return ThreadPoolTaskRunner(max_workers=1).serving(session)

    def _submit(
        self,
        task: TaskDefinition[..., Any],
        place: Scope,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wait_for: object,
    ) -> Future[Any]:
        if not (task.isasync or task.isgenerator):
            return ended_call(task, place, args, kwargs, wait_for)
        future = submit_one(task, place, args, kwargs, wait_for)
        wait_for_call(future)
        return future

    def map(
        self, task: TaskDefinition[..., R], parameters: Mapping[str, Any], wait_for: object = None
    ) -> FutureList[R]:
        """Submit one run of a task for each element, like `TaskRunner.map`, and wait for their ends."""
        futures = super().map(task, parameters, wait_for)
        for future in futures:
            wait_for_call(future)
        return futures


@public("taskyard.task_runners")
class ProcessPoolTaskRunner(TaskRunner):
    """Processes of this machine execute the runs, started for the flow run and ended with it.

    They are an agent of the program's own with as many workers; other agents are left alone. Flow runs of one
    program that want the same number at a time share them. Tasks that these tasks call go to agents.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        """Use at most `max_workers` processes at a time.

        By default as many as there are processors, and beside them up to 100 async tasks for each: a number
        that somebody gives is meant for all tasks.

        Raises:
            ValueError: `max_workers` is less than 1.
        """
        self.coroutines = 0 if max_workers else None
        self.max_workers = checked_workers(max_workers) or os.cpu_count() or 1

    def serving(self, session: Session) -> AbstractContextManager[Service]:
        """Serve a queue of the program's own by processes."""
        from taskyard._engine.own_agent.sharing import serve_by_processes

        return serve_by_processes(session, self.max_workers, self.coroutines)

    def __repr__(self) -> str:
        """Show it as it is written."""
        return f"{type(self).__name__}(max_workers={self.max_workers})"


def checked_workers(max_workers: int | None) -> int | None:
    """Return a number of workers that was given.

    Raises:
        ValueError: It is less than 1.
    """
    if max_workers is not None and max_workers < 1:
        raise ValueError(f"'max_workers' must be at least 1, got {max_workers}")
    return max_workers


MOST_COROUTINES: Final = 100
"""Async tasks that go on at the same time, where nobody says how many tasks may."""
_AGENTS: Final = "agents"
_KNOWN: Final[dict[str, type[TaskRunner]]] = {_AGENTS: AgentTaskRunner, "threads": ThreadPoolTaskRunner}


def runner_of(given: object, caller: Scope) -> TaskRunner:
    """Return the task runner of a flow run: a duplicate of the flow's own, else of its caller's.

    If neither has one it is what the environment says.

    Raises:
        TypeError: What was given is no task runner.
        ConfigurationError: The environment names no task runner.
    """
    if given is None:
        if not isinstance(caller.task_runner, TaskRunner):
            return _from_environment()
        given = caller.task_runner
    runner = given() if isinstance(given, type) and issubclass(given, TaskRunner) else given
    if not isinstance(runner, TaskRunner):
        raise TypeError(f"'task_runner' must be a task runner, got {type(given).__name__}")
    other = runner.duplicate()
    if not isinstance(other, TaskRunner) or other is runner:
        raise TypeError(f"{runner!r}.duplicate() must return another task runner, got {other!r}")
    return other


def place_of_calls() -> Scope:
    """Return where direct calls go: to the innermost run; outside of runs, to whom the environment says."""
    return current_scope() or _served_outside()


def place_of_generators() -> Scope:
    """Return where direct calls of generators go: to this process, whose code takes the values one by one."""
    scope = place_of_calls()
    if scope.executor is not None:
        return scope.served_by(Service(scope.executor.queue, scope.executor))
    with ThreadPoolTaskRunner().serving(scope.session) as service:  # which goes on until the session ends
        return scope.served_by(service)


def _served_outside() -> Scope:
    """Return the scope of calls outside of runs, which threads of this process may have to execute."""
    global _served
    outside = outside_scope()
    if settings.task_runner() == _AGENTS:
        return outside
    session = outside.session
    known, scope = _served
    if known is not session or scope is None:
        runner = _from_environment()
        with runner.serving(session) as service:  # which goes on until the session ends
            scope = Scope(session, queue=service.queue, executor=service.executor, task_runner=runner)
        _served = session, scope
    return scope


_served: tuple[Session | None, Scope | None] = (None, None)


def _from_environment() -> TaskRunner:
    name = settings.task_runner()
    kind = _KNOWN.get(name)
    if kind is None:
        raise ConfigurationError(f"{settings.TASK_RUNNER} is '{name}'; expected one of {', '.join(_KNOWN)}")
    return kind()
