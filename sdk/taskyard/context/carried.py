"""The run that code belongs to, taken along to code that Python's context variables do not reach.

In the same process, in threads of the program's own, the run itself is taken along: calls there are numbered,
awaited and cancelled as those of its own code. In another process only what is known of it arrives: calls
there are submitted by that process, as runs inside this one, and are over when the block ends.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any, Final

from taskyard._data.runs.records import FlowRun, TaskRun
from taskyard._data.values.awaited import AwaitedRun
from taskyard.context.runs import (
    FlowRunContext,
    RunContext,
    TagsContext,
    TaskRunContext,
    current_headers,
    headers,
)
from taskyard.settings import environment
from taskyard.settings.overriding import set_variables

_FLOW: Final = "flow_run_context"
_TASK: Final = "task_run_context"
_TAGS: Final = "tags_context"
_HEADERS: Final = "headers_context"
_SETTINGS: Final = "settings_context"


class Carried(Mapping[str, Any]):
    """A run's context as it travels: itself in its process, its parts in others. It can be pickled."""

    def __init__(self, context: RunContext | None, parts: Mapping[str, Any]) -> None:
        """Take a context along, and what others are told of it."""
        self._context = context
        self._process = os.getpid()
        self._parts = dict(parts)

    @classmethod
    def of(cls, context: RunContext) -> "Carried":
        """Take a context along."""
        run = context.run
        parts: dict[str, Any] = {"log_prints": context.log_prints}
        for name in ("name", "tags", "run_count", *_OWN[type(run)]):
            parts[name] = getattr(run, name)
        return cls(context, parts)

    @property
    def context(self) -> RunContext | None:
        """The context itself; None elsewhere, and in a process that was forked from its own."""
        return self._context if self._process == os.getpid() else None

    def entered(self) -> RunContext:
        """Return a context for code here, not entered before."""
        context = self.context
        if context is not None:
            return _copied(context)
        parts = dict(self._parts)
        log_prints = parts.pop("log_prints")
        raw_id = parts.pop("raw_id")
        if "raw_flow_run_id" not in parts:
            parts["parent_run_id"] = parts.pop("raw_parent_run_id")
            return FlowRunContext(None, FlowRun(raw_id, **parts), log_prints=log_prints)
        parts["flow_run_id"] = parts.pop("raw_flow_run_id")
        parts["parent_run_id"] = parts.pop("raw_parent_run_id")
        return TaskRunContext(None, TaskRun(raw_id, **parts), log_prints=log_prints)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the context itself."""
        return Carried, (None, self._parts)

    def __getitem__(self, name: str) -> Any:
        """Return what others are told."""
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        """Name what others are told."""
        return iter(self._parts)

    def __len__(self) -> int:
        """Count it."""
        return len(self._parts)


_OWN: Final[dict[type, Sequence[str]]] = {
    FlowRun: ("raw_id", "raw_parent_run_id", "flow_name", "flow_version"),
    TaskRun: ("raw_id", "raw_parent_run_id", "raw_flow_run_id", "flow_run_name", "task_name", "task_key"),
}


class _SameTaskRun(TaskRunContext):
    """A second context of a task run: what the run's code has left in the first one is there, and stays."""

    __slots__ = ("_first",)

    def __init__(self, first: TaskRunContext, **shared: Any) -> None:
        super().__init__(first.task, first.task_run, lambda: first.parameters, **shared)
        self._first = first

    @property
    def asset_metadata(self) -> Any:  # an attribute there
        return self._first.asset_metadata

    @asset_metadata.setter
    def asset_metadata(self, added: Any) -> None:
        self._first.asset_metadata = added

    @property
    def own_transaction(self) -> Any:  # an attribute there
        return self._first.own_transaction

    @own_transaction.setter
    def own_transaction(self, transaction: Any) -> None:
        self._first.own_transaction = transaction


def _copied(context: RunContext) -> RunContext:
    """Return a second context of a run: one is entered at most once at a time, and threads are many."""
    shared: dict[str, Any] = {
        "log_prints": context.log_prints,
        "log_sink": context.log_sink,
        "host": context.host,
        "scope": context.scope,
    }
    if isinstance(context, FlowRunContext):
        runner, around = context.task_runner, context.headers
        run = context.flow_run
        copied = FlowRunContext(
            context.flow, run, lambda: context.parameters, task_runner=runner, headers=around, **shared
        )
        copied.keep_rollbacks = context.keep_rollbacks
        return copied
    assert isinstance(context, TaskRunContext)
    return _SameTaskRun(context, **shared)


def serialize_context() -> dict[str, Any]:
    """Take the run around this code along, with its tags, its headers and settings.

    What is returned can be pickled, and is given to `hydrated_context` in a thread, or in another process.
    Workers, and threads of task runners, have the context of their run by themselves.
    """
    flow_run, task_run = FlowRunContext.get(), TaskRunContext.get()
    return {
        _FLOW: Carried.of(flow_run) if flow_run is not None else {},
        _TASK: Carried.of(task_run) if task_run is not None else {},
        _TAGS: {"current_tags": sorted(TagsContext.get().current_tags)},
        _HEADERS: dict(current_headers()),
        _SETTINGS: {"process": os.getpid(), "variables": dict(environment.variables())},
    }


@contextmanager
def hydrated_context(
    serialized_context: Mapping[str, Any] | None = None, client: Any = None
) -> Iterator[None]:
    """Belong to a run in a block: tasks and flows that are called in it are runs of that run.

    In a thread of the same process they are as those of the run's own code, and the run waits for them. In
    another process they are submitted by that one, agents execute them, and the end of the block waits for
    them; settings are those of the run inside of it.

    Args:
        serialized_context: What `serialize_context` returned; without it nothing changes.
        client: Plays no role.
    """
    with ExitStack() as stack:
        if serialized_context:
            said = serialized_context.get(_SETTINGS) or {}
            if said and said["process"] != os.getpid():
                stack.enter_context(set_variables(said["variables"]))
            for name in _in_order(serialized_context):
                entered = stack.enter_context(serialized_context[name].entered())
                if serialized_context[name].context is None:
                    stack.callback(_end_runs_of, entered)
            stack.enter_context(TagsContext((serialized_context.get(_TAGS) or {}).get("current_tags", ())))
            stack.enter_context(headers(serialized_context.get(_HEADERS) or {}))
        yield


def _in_order(context: Mapping[str, Any]) -> list[str]:
    """Return which runs there are, the outer one first: a flow may be called in a task, too."""
    found = [name for name in (_FLOW, _TASK) if context.get(name)]
    if len(found) == 2 and context[_FLOW]["raw_parent_run_id"] == context[_TASK]["raw_id"]:
        found.reverse()
    return found


def _end_runs_of(context: RunContext) -> None:
    """Wait for what was submitted in a block, and end the session of the block, which would end it too."""
    scope: Any = context.scope
    if scope is None:
        return
    ended: SimpleQueue[AwaitedRun] = SimpleQueue()
    runs = list(scope.open_futures())
    try:
        for run in runs:
            run.when_settled(ended)
        for _ in runs:
            ended.get()
    finally:
        scope.close()
