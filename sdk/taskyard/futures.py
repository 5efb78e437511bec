"""Futures: the results of runs that may not have ended. Returned by `submit` and `map`."""

from typing import TYPE_CHECKING

from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import DoneAndNotDone, FutureList, as_completed, wait
from taskyard._missing_features import absent_names

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

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
