"""What user code saw of runs, as release 0.1.0 stored it."""

from taskyard.context import FlowRun, TaskRun

__all__ = ["FlowRun", "TaskRun"]
