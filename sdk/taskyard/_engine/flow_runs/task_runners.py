"""Task runners: where the task runs of a flow are executed.

Invariant: the control plane records and decides the same things for all of them; a runner only says who
executes.
"""

import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from taskyard import settings
from taskyard._durable_names import public
from taskyard._engine.submission.scope import LocalExecutor, Scope, current_scope, outside_scope
from taskyard._network.session.session import Session
from taskyard.exceptions import ConfigurationError


@public("taskyard.task_runners")
class TaskRunner(ABC):
    """Says who executes the task runs of a flow."""

    @abstractmethod
    def serving(self, session: Session) -> AbstractContextManager[LocalExecutor | None]:
        """Return what serves runs of `session` in this process while entered, if this runner does."""


@public("taskyard.task_runners")
class AgentTaskRunner(TaskRunner):
    """Agents execute the runs, in processes of their own, on this machine or others. The default."""

    def serving(self, session: Session) -> AbstractContextManager[LocalExecutor | None]:
        """Return an entry that serves nothing: the runs go where their queues are served."""
        return nullcontext()

    def __repr__(self) -> str:
        """Show it as it is written."""
        return "AgentTaskRunner()"


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
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"'max_workers' must be at least 1, got {max_workers}")
        self.coroutines = 0 if max_workers else MOST_COROUTINES
        self.max_workers = max_workers or min(32, (os.cpu_count() or 1) + 4)

    def serving(self, session: Session) -> AbstractContextManager[LocalExecutor | None]:
        """Serve the session's own queue in this process."""
        from taskyard._engine.thread_agent.serving import serve_locally

        return serve_locally(session, self.max_workers, self.coroutines)

    def __repr__(self) -> str:
        """Show it as it is written."""
        return f"ThreadPoolTaskRunner(max_workers={self.max_workers})"


MOST_COROUTINES: Final = 100
"""Async tasks that go on at the same time, where nobody says how many tasks may."""
_AGENTS: Final = "agents"
_KNOWN: Final[dict[str, type[TaskRunner]]] = {_AGENTS: AgentTaskRunner, "threads": ThreadPoolTaskRunner}


def runner_of(given: object, caller: Scope) -> TaskRunner:
    """Return the task runner of a flow: its own, else its caller's, else what the environment says.

    Raises:
        TypeError: What was given is no task runner.
        ConfigurationError: The environment names no task runner.
    """
    if given is None:
        return caller.task_runner if isinstance(caller.task_runner, TaskRunner) else _from_environment()
    runner = given() if isinstance(given, type) and issubclass(given, TaskRunner) else given
    if not isinstance(runner, TaskRunner):
        raise TypeError(f"'task_runner' must be a task runner, got {type(given).__name__}")
    return runner


def place_of_calls() -> Scope:
    """Return where direct calls go: to the innermost run; outside of runs, to whom the environment says."""
    return current_scope() or _served_outside()


def place_of_generators() -> Scope:
    """Return where direct calls of generators go: to this process, whose code takes the values one by one."""
    scope = place_of_calls()
    if scope.executor is not None:
        return scope.served_by(scope.executor)
    with ThreadPoolTaskRunner().serving(scope.session) as executor:  # which goes on until the session ends
        assert executor is not None
        return scope.served_by(executor)


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
        with runner.serving(session) as executor:  # which goes on until the session ends
            queue = executor.queue if executor is not None else ""
            scope = Scope(session, queue=queue, executor=executor, task_runner=runner)
        _served = session, scope
    return scope


_served: tuple[Session | None, Scope | None] = (None, None)


def _from_environment() -> TaskRunner:
    name = settings.task_runner()
    kind = _KNOWN.get(name)
    if kind is None:
        raise ConfigurationError(f"{settings.TASK_RUNNER} is '{name}'; expected one of {', '.join(_KNOWN)}")
    return kind()
