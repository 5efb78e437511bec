"""Task runners: where the task runs of a flow are executed."""

from typing import TYPE_CHECKING

from taskyard._engine.flow_runs.task_runners import AgentTaskRunner, TaskRunner, ThreadPoolTaskRunner
from taskyard._missing_features import absent_names

__all__ = ["AgentTaskRunner", "TaskRunner", "ThreadPoolTaskRunner"]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
