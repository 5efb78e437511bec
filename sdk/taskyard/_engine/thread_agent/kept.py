"""What is kept of a call while its run is open, and what its task gets of it."""

from collections.abc import Mapping, MutableMapping
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import replaced, value_of
from taskyard._engine.submission.arguments import states_resolved
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._engine.thread_agent.own_values import Copied, own, own_call

A = TypeVar("A")
Results = MutableMapping[Future[Any], Copied]
"""What runs returned, as it was then, for the runs that it goes to."""
Upstream = Mapping[bytes, tuple[Future[Any] | None, int]]


class Kept(Generic[A]):
    """What this process keeps of a run until it has ended; `A` are its attempts."""

    __slots__ = (
        "assigned",
        "call",
        "context",
        "copied",
        "direct",
        "future",
        "left",
        "scope",
        "task",
        "upstream",
    )

    def __init__(
        self,
        task: TaskDefinition[..., Any],
        scope: Scope,
        future: Future[Any],
        call: Arguments,
        direct: bool,
        copied: Copied = False,
        upstream: Upstream | None = None,
    ) -> None:
        """Keep a call that was made from `scope`.

        Args:
            task: The task.
            scope: Where it was called.
            future: Of the run.
            call: The arguments, with futures among them.
            direct: Whether its caller executes it.
            copied: The same as the task gets them; see `own_values`.
            upstream: The futures among the arguments by their runs, and what each is to the call.
        """
        self.task = task
        self.scope = scope
        self.future = future
        self.call: Arguments = call if not isinstance(copied, bytes) else ((), {})
        self.copied = copied
        self.upstream = upstream or {}
        self.context = copy_context()
        """The context variables of the caller. Each attempt sees their values, and changes its own."""
        self.direct = direct
        self.left: BaseException | None = None
        """Why the caller of a direct call has gone, so that nobody executes it any more."""
        self.assigned: SimpleQueue[A | None] = SimpleQueue()

    def arguments(self, results: Results) -> Arguments:
        """Return the arguments of one attempt, with results of other runs in their places."""
        if isinstance(self.copied, bytes):
            copy: Arguments = own_call(self.copied, lambda run_id: self._input(run_id, results))
            return copy
        call = replaced(states_resolved(self.call, self.scope), value_of)
        found: Arguments = own(call, self.copied)
        return found

    def _input(self, run_id: bytes, results: Results) -> Any:
        """Return the value of an upstream run for this one alone."""
        future, kind = self.upstream[run_id]
        if future is None:  # it was found by pickling alone, and has ended
            return own(Future[Any](run_id, self.scope).get_state().result())
        value = value_of(future, kind)
        return own(value, results.get(future, True)) if future.completed() else value
