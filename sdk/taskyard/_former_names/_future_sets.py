"""Sets of futures, and functions that code of tasks names, as release 0.1.0 stored it."""

from taskyard.futures import DoneAndNotDone, FutureList, as_completed, wait

__all__ = ["DoneAndNotDone", "FutureList", "as_completed", "wait"]
