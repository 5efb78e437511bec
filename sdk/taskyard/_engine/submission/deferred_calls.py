"""What tasks have besides their calls inside of flows: runs that outlive the program, and numbers of runs."""

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard.utilities import visualization

if TYPE_CHECKING:
    # Their messages take 30 ms to import, which programs that only submit need not pay.
    from taskyard._engine.submission.futures_by_id import TaskyardDistributedFuture
    from taskyard_api.v1 import agent_service_pb2
    from taskyard_contract.execution import TaskCode

T = TypeVar("T")

_OUTSIDE: Final = (
    "task '{name}' was submitted outside of a flow, so nobody would wait for it. Call it inside a function"
    " decorated with @flow, call it directly as {name}(...), or use {name}.delay(...) for a run that"
    " outlives this program"
)


class DeferrableTask(TaskDefinition[P, R], Generic[P, R]):
    """A task whose runs may outlive the program that submits them."""

    @overload
    def delay(
        self: "DeferrableTask[P, Coroutine[Any, Any, T]]", /, *args: P.args, **kwargs: P.kwargs
    ) -> "TaskyardDistributedFuture[T]": ...

    @overload
    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> "TaskyardDistributedFuture[R]": ...

    def delay(self, /, *args: Any, **kwargs: Any) -> "TaskyardDistributedFuture[Any]":
        """Submit a run that belongs to no flow and outlives this program.

        Agents of its queue execute it, or programs that serve the task.

        Raises:
            ParameterBindError: The arguments do not fit the function's signature.
        """
        return self.apply_async(args, kwargs)

    @overload
    def apply_async(
        self: "DeferrableTask[P, Coroutine[Any, Any, T]]",
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        wait_for: object = None,
    ) -> "TaskyardDistributedFuture[T]": ...

    @overload
    def apply_async(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        wait_for: object = None,
    ) -> "TaskyardDistributedFuture[R]": ...

    def apply_async(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        wait_for: object = None,
    ) -> "TaskyardDistributedFuture[Any]":
        """Submit a run that belongs to no flow and outlives this program, like `delay`.

        Args:
            args: Positional arguments of the function.
            kwargs: Keyword arguments of the function.
            wait_for: Runs that must have completed before.

        Raises:
            TypeError: `args` is no tuple, or `kwargs` no dict.
            ParameterBindError: The arguments do not fit the function's signature.
        """
        from taskyard._engine.submission.deferred import submit_deferred

        if visualization.drawings:
            visualization.refuse_unsupported("apply_async")
        if not isinstance(args or (), (tuple, list)) or not isinstance(kwargs or {}, Mapping):
            raise TypeError(
                f"{self.name}.apply_async takes a tuple of positional arguments and a dict of keyword "
                f"arguments, got {args!r} and {kwargs!r}; {self.name}.delay(...) takes them as a call does"
            )
        return submit_deferred(self, self._prefix + tuple(args or ()), dict(kwargs or {}), wait_for)

    @property
    def dynamic_key(self) -> str:
        """The number that its next run has among those of this task in the flow run, or task run, around.

        Runs are named after it: `add-0`. Inside of a task run that is this very task's, see
        `taskyard.runtime.task_run.dynamic_key` for its own.
        """
        return str((current_scope() or outside_scope()).next_ordinal(self.task_key))

    def get_and_update_dynamic_key(self) -> str:
        """Take the number that its next run would have, and return it; calls of tasks do so by themselves."""
        return str((current_scope() or outside_scope()).skip_ordinal(self.task_key))

    def code_for_workers(self) -> "TaskCode":
        """Return what executes runs of this task where its module is imported; agents ask for it."""
        from taskyard._engine.execution.served_task import ServedTask

        return ServedTask(self)

    def offer(self) -> "agent_service_pb2.TaskOffer":
        """Return how agents announce that they serve this task by its name."""
        from taskyard._engine.execution.offers import offer_of

        return offer_of(self)

    def _refuse_outside(self) -> Scope:
        raise RuntimeError(_OUTSIDE.format(name=self.name))
