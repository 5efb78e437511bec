"""Futures: the results of runs that may not have ended. Returned by `submit` and `map`."""

from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import DoneAndNotDone, FutureList, as_completed, wait

__all__ = [
    "Future",
    "FutureList",
    "DoneAndNotDone",
    "as_completed",
    "wait",
    "PrefectDistributedFuture",
    "PrefectFuture",
    "PrefectFutureList",
]

PrefectFuture = Future
PrefectDistributedFuture = Future
PrefectFutureList = FutureList
