"""Functions that code of tasks names, as release 0.1.0 stored it."""

from taskyard.tasks import task_input_hash

__all__ = ["task_input_hash"]
