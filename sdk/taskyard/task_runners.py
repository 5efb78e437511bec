"""Task runners: where the task runs of a flow are executed."""

from typing import TYPE_CHECKING

from taskyard._engine.flow_runs.task_runner import TaskRunner
from taskyard._engine.flow_runs.task_runners import (
    AgentTaskRunner,
    ProcessPoolTaskRunner,
    SequentialTaskRunner,
    ThreadPoolTaskRunner,
)
from taskyard._missing_features import absent_names

__all__ = [
    "AgentTaskRunner",
    "ConcurrentTaskRunner",
    "ProcessPoolTaskRunner",
    "SequentialTaskRunner",
    "TaskRunner",
    "TaskyardTaskRunner",
    "ThreadPoolTaskRunner",
]

ConcurrentTaskRunner = ThreadPoolTaskRunner
"""Its name in Prefect 2."""
TaskyardTaskRunner = AgentTaskRunner
"""What hands runs to processes that serve tasks, on whatever machine: agents, here."""

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
