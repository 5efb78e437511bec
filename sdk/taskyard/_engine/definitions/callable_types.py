"""Types for annotations: what callables that users give to tasks and flows look like."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, runtime_checkable

from taskyard._data.runs.state import State
from taskyard._durable_names import public
from taskyard._engine.definitions.option_checks import signature_of
from taskyard._engine.futures.future import Future

OneOrManyFutureOrResult = Future[Any] | Any | Iterable[Future[Any] | Any]
"""What `wait_for` takes."""
StateHookCallable = Callable[[Any, Any, State[Any]], Awaitable[None] | None]
"""A hook of a task: called with task, run and state."""
FlowStateHook = Callable[[Any, Any, State[Any]], Awaitable[None] | None]
"""A hook of a flow: called with flow, run and state."""


@public("taskyard.tasks")
@runtime_checkable
class TaskRunNameCallbackWithParameters(Protocol):
    """What makes names of task runs and wants to know their parameters, by the name `parameters`."""

    @classmethod
    def is_callback_with_parameters(cls, callable: Callable[..., str]) -> bool:
        """Say whether something that makes names is to be given the parameters."""
        return "parameters" in signature_of(callable).parameters

    def __call__(self, parameters: dict[str, Any]) -> str:
        """Return the name of a run."""
        ...
