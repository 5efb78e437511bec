"""Functions that code of tasks names, as release 0.1.0 stored it."""

from taskyard.tasks import exponential_backoff

__all__ = ["exponential_backoff"]
