"""Functions that code of tasks names, as release 0.1.0 stored it."""

from taskyard.states import exception_of, from_outcome, from_run

__all__ = ["exception_of", "from_outcome", "from_run"]
