"""What calls are given to beside a session: who executes them here, counts them, or knows them already."""

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol

from taskyard._data.runs.state import State
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of one call."""


class LocalExecutor(Protocol):
    """Executes runs in the process that submits them, so that their arguments need not travel."""

    queue: str
    """Where its runs wait."""

    def keep(
        self,
        task: TaskDefinition[..., Any],
        scope: Any,
        future: Future[Any],
        call: Arguments,
        upstream: dict[bytes, int],
        direct: bool,
    ) -> None:
        """Keep the arguments of a new run; adds the runs they depend on to `upstream`."""

    def leave_entered(self, why: BaseException) -> None:
        """Execute a direct call never that this thread has kept: it was interrupted before it served it."""

    def serve(self, future: Future[Any]) -> None:
        """Execute a run that was called directly in the calling thread, until it has ended."""

    def iterate(self, future: Future[Any]) -> Generator[Any, Any, Any]:
        """Execute a run of a generator task while its caller takes the values."""
        ...

    def iterate_async(self, future: Future[Any]) -> AsyncGenerator[Any, None]:
        """Do so with a run of an asynchronous generator task."""
        ...


class Counted(Protocol):
    """A run that decides with others how a flow ends: the future of a task run, or a subflow."""

    def get_state(self) -> State[Any]:
        """Return the state that it is in."""
        ...


class Submitter(Protocol):
    """A task runner that takes calls itself, to do something of its own with them."""

    def submit(self, task: Any, parameters: dict[str, Any], wait_for: Any = None) -> Any:
        """Submit a run; returns its future."""

    def map(self, task: Any, parameters: dict[str, Any], wait_for: Any = None) -> Any:
        """Submit a run for each element; returns their futures."""


class EarlierRuns(Protocol):
    """What earlier attempts of a flow run have made: calls of a body that runs again may be these."""

    is_plan: bool
    """Whether nothing is executed, and it is only said what would be."""
    changed_code: Any
    """What becomes of results of tasks whose code was changed, in nested flows as well."""

    def look(
        self, task: TaskDefinition[..., Any], scope: Any, call: Arguments, wait_for: object, is_new: bool
    ) -> tuple[Any, Future[Any] | None]:
        """Return the future of the run that a call was, or what `note` is told if it becomes a new one.

        A call `is_new` whatever there is: its values are taken one by one, or it is part of a transaction, so
        that what it did was undone, or can be.
        """
        ...

    def note(self, key: Any, future: Future[Any]) -> None:
        """Hear which run a call has become."""

    def map(
        self,
        task: TaskDefinition[..., Any],
        scope: Any,
        expansion: Any,
        wait_for: object,
        submit: Callable[[Any], Any],
        is_new: bool,
    ) -> Any:
        """Return the futures of a map; `submit` makes runs of its children that were none."""
        ...

    def flow(self, flow: Any, digest: bytes) -> tuple[Any, bool]:
        """Return the run that a call of a nested flow was, or None; and whether its value stands for it."""
        ...

    def reuses_flow(self, flow: Any, found: Any) -> None:
        """Hear that the value of a nested flow is reused."""

    def executes_flow(self, flow: Any, found: Any) -> None:
        """Hear that a nested flow is executed, in the run that was found or in a new one."""

    def outside(self, what: str) -> None:
        """Hear of something that is about to be started and is no part of the flow run."""


@dataclass(frozen=True, slots=True)
class Service:
    """Who serves the runs of a task runner: their queue, and this process, if it is the one."""

    queue: str = ""
    """Where runs wait; empty for what their tasks say."""
    executor: LocalExecutor | None = None
