"""Code of tasks, as release 0.1.0 stored it."""

from taskyard._engine.execution.task_body import TaskBody
from taskyard.exceptions import RunCancelled

__all__ = ["RunCancelled", "TaskBody"]
