"""Which assets a call depends on: those that made its arguments, by way of futures, states and values.

A run that materializes assets hands these on to whoever takes its result, and every other run those that it
needed itself. This happens where tasks are called, so workers need not know of it: a task that materializes
is called as another one that knows its upstream assets.

Invariant: where no task has anything to do with assets, nothing is looked at.
"""

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from taskyard._data.runs.state import State
from taskyard._data.values.containers import with_parts
from taskyard._engine.assets.asset import Asset
from taskyard._engine.definitions.materializing import MaterializingDefinition
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution.materializing import note_killed
from taskyard._engine.futures.future import Future
from taskyard._engine.submission.scope import Scope
from taskyard.utilities.annotations import Annotation, quote
from taskyard_api.v1 import session_service_pb2 as pb

Assets = frozenset[Asset]
NONE: Final[Assets] = frozenset()
_MOST_PARTS: Final = 10_000
"""Larger collections are values, not arguments that were put together: nobody looks into them."""
_MOST_RUNS: Final = 100_000


class Passed:
    """What the results of one scope's runs carry along. Thread-safe."""

    __slots__ = ("_by_run", "_lock")

    def __init__(self) -> None:
        """Begin without."""
        self._lock = threading.Lock()
        self._by_run: dict[bytes, Assets] = {}

    def note_run(self, run_id: bytes, assets: Assets) -> None:
        """Remember what the result of a run carries along."""
        with self._lock:
            self._by_run[run_id] = assets
            if len(self._by_run) > _MOST_RUNS:
                del self._by_run[next(iter(self._by_run))]

    def of_run(self, run_id: bytes) -> Assets:
        """Return what the result of a run carries along."""
        return self._by_run.get(run_id, NONE)


def upstream_of(
    task: TaskDefinition[..., Any], scope: Scope, call: object, wait_for: object
) -> tuple[TaskDefinition[..., Any], Assets]:
    """Return the task to call, and what its result carries along.

    Args:
        task: The task that is called.
        scope: Where.
        call: The arguments.
        wait_for: What else it waits for.
    """
    found: set[Asset] = set()
    _collect((call, wait_for), scope, found)
    needed = task.settings.asset_deps if not task.is_remote else ()
    if not isinstance(task, MaterializingDefinition):
        return task, frozenset(found.union(needed)) if found or needed else NONE
    heir = task.materializing_after(frozenset(found)) if found else task
    made: Any = heir.settings
    return heir, frozenset(made.assets)


def note_runs(
    task: TaskDefinition[..., Any], scope: Scope, futures: Iterable[Future[Any]], assets: Assets
) -> None:
    """Remember what the results of runs carry along."""
    passed = _passed(scope)
    for future in futures:
        passed.note_run(future.run_id, assets)
        if task.materializes:
            future.add_done_callback(partial(_note_end, task, scope.flow_run_id))


def _note_end(task: TaskDefinition[..., Any], flow_run_id: bytes, future: Future[Any]) -> None:
    outcome = future.outcome
    if isinstance(outcome, pb.RunOutcome):
        note_killed(task, flow_run_id, outcome)


def _passed(scope: Any) -> Passed:
    passed: Passed = scope.carried(Passed)
    return passed


def _of_run(scope: Any, run_id: bytes) -> Assets:
    root = getattr(scope, "numbered_by", None) or scope
    passed: Passed | None = getattr(root, "assets", None)
    return NONE if passed is None else passed.of_run(run_id)


def _collect(value: object, scope: Scope, found: set[Asset]) -> None:
    """Add the assets that made a value, or something in it."""
    inside: set[int] = set()

    def visit(part: Any) -> Any:
        if isinstance(part, Future):
            found.update(_of_run(part.origin, part.run_id))
        elif isinstance(part, State):
            ended = part.state_details.task_run_id
            found.update(NONE if ended is None else _of_run(scope, ended.bytes))
        elif isinstance(part, Annotation):
            if not isinstance(part, quote):
                visit(part.value)
        else:
            run_id = None if scope.known is None else scope.known.run_of(part)
            if run_id is not None:
                found.update(_of_run(scope, run_id))
            if not hasattr(part, "__len__") or len(part) <= _MOST_PARTS:
                with_parts(part, visit, inside)
        return part

    visit(value)
