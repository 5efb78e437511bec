"""Attributes of the current flow run: id, name, flow_name, flow_version, tags, headers, parameters,
run_count, parent_run_id (the run that called it), parent_flow_run_id (the flow run which that is, or is in),
scheduled_start_time (when it started, because runs without a schedule are to start at once); and
parent_deployment_id and job_variables, None because there are no deployments.

They are read when they are asked for. Inside a task only the id and the name of its flow run are known,
because the task may execute on another machine; everything else is empty there, as it is outside of
runs.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from taskyard._missing_features import absent_names
from taskyard.context import FlowRunContext, TaskRunContext

_READERS: Final[dict[str, tuple[Callable[[FlowRunContext], Any], Callable[[], Any]]]] = {
    "id": (lambda context: str(context.flow_run.id), lambda: _of_task("flow_run_id")),
    "name": (lambda context: context.flow_run.name, lambda: _of_task("flow_run_name")),
    "flow_name": (lambda context: context.flow_run.flow_name, lambda: None),
    "flow_version": (lambda context: context.flow_run.flow_version, lambda: None),
    "tags": (lambda context: list(context.flow_run.tags), list),
    "parameters": (lambda context: dict(context.parameters), dict),
    "run_count": (lambda context: context.flow_run.run_count, int),
    "headers": (lambda context: dict(context.headers), dict),
    "parent_run_id": (lambda context: _text(context.flow_run.parent_run_id), lambda: None),
    "parent_flow_run_id": (lambda context: _text(context.outer and context.outer.flow_run_id), lambda: None),
    "parent_deployment_id": (lambda _: None, lambda: None),
    "job_variables": (lambda _: None, lambda: None),
    "scheduled_start_time": (lambda context: context.start_time, lambda: datetime.now(UTC)),
}

_absent: Final = absent_names(__name__)

__all__ = [  # noqa: F822
    "flow_name",
    "flow_version",
    "headers",
    "id",
    "job_variables",
    "name",
    "parameters",
    "parent_deployment_id",
    "parent_flow_run_id",
    "parent_run_id",
    "run_count",
    "scheduled_start_time",
    "tags",
]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _of_task(attribute: str) -> str | None:
    """Read what a task run knows of its flow run."""
    context = TaskRunContext.get()
    return _text(getattr(context.task_run, attribute)) or None if context is not None else None


def __getattr__(name: str) -> Any:
    """Read an attribute of the current flow run."""
    if name not in _READERS:
        from taskyard._prefect_names.small_members import RUNTIME

        if name in RUNTIME:
            return _absent(name)
        raise AttributeError(f"{__name__} has no attribute '{name}'; it has {', '.join(_READERS)}")
    read, empty = _READERS[name]
    context = FlowRunContext.get()
    return empty() if context is None else read(context)


def __dir__() -> list[str]:
    """List what can be read."""
    return sorted(_READERS)
