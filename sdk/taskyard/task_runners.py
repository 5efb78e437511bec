"""Task runners: where the task runs of a flow are executed."""

from taskyard._engine.flow_runs.task_runners import AgentTaskRunner, TaskRunner, ThreadPoolTaskRunner

__all__ = ["AgentTaskRunner", "TaskRunner", "ThreadPoolTaskRunner"]
