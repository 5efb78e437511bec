"""Futures: the results of runs that may not have ended. Returned by `submit`, `map` and `delay`.

There is one class for all runs of a program, `Future`, whoever executes them; other names that programs know
mean it too. `TaskyardDistributedFuture` and `TaskyardFlowRunFuture` can be made of the id of a run.
"""

from typing import TYPE_CHECKING, Any

from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import resolve_futures_to_results, resolve_futures_to_states
from taskyard._engine.futures.sets import DoneAndNotDone, FutureList, as_completed, wait
from taskyard._missing_features import absent_names

if TYPE_CHECKING:
    from taskyard._engine.submission.futures_by_id import TaskyardDistributedFuture, TaskyardFlowRunFuture

    PrefectDistributedFuture = TaskyardDistributedFuture

__all__ = [
    "DoneAndNotDone",
    "DoneAndNotDoneFutures",
    "Future",
    "FutureList",
    "PrefectDistributedFuture",
    "PrefectFuture",
    "PrefectFutureList",
    "TaskyardConcurrentFuture",
    "TaskyardDistributedFuture",
    "TaskyardFlowRunFuture",
    "TaskyardFuture",
    "TaskyardFutureList",
    "TaskyardTaskRunFuture",
    "as_completed",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
]

DoneAndNotDoneFutures = DoneAndNotDone
PrefectFuture = Future
PrefectFutureList = FutureList
TaskyardConcurrentFuture = Future
TaskyardFuture = Future
TaskyardFutureList = FutureList
TaskyardTaskRunFuture = Future

_LATER = {
    "PrefectDistributedFuture": "TaskyardDistributedFuture",
    "TaskyardDistributedFuture": "TaskyardDistributedFuture",
    "TaskyardFlowRunFuture": "TaskyardFlowRunFuture",
}
_absent = absent_names(__name__)

if not TYPE_CHECKING:  # type checkers would stop checking names

    def __getattr__(name: str) -> Any:
        """Import futures that are made of ids when they are first named: they bring the network along."""
        if name not in _LATER:
            return _absent(name)
        from taskyard._engine.submission import futures_by_id

        found = globals()[name] = getattr(futures_by_id, _LATER[name])
        return found
