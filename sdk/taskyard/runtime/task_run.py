"""Attributes of the current task run: id, name, task_name, tags, parameters, run_count, dynamic_key,
last_heartbeat_details, headers.

They are read when they are asked for; outside of task runs they are empty.
"""

from collections.abc import Callable
from typing import Any, Final

from taskyard._missing_features import absent_names
from taskyard.context import TaskRunContext

_READERS: Final[dict[str, tuple[Callable[[TaskRunContext], Any], Callable[[], Any]]]] = {
    "id": (lambda context: str(context.task_run.id), lambda: None),
    "name": (lambda context: context.task_run.name, lambda: None),
    "task_name": (lambda context: context.task_run.task_name, lambda: None),
    "tags": (lambda context: list(context.task_run.tags), list),
    "parameters": (lambda context: dict(context.parameters), dict),
    "run_count": (lambda context: context.task_run.run_count, int),
    "dynamic_key": (lambda context: context.task_run.dynamic_key, lambda: None),
    "last_heartbeat_details": (lambda context: context.task_run.last_heartbeat_details, lambda: None),
    "headers": (lambda context: dict(context.headers), dict),
}

_absent: Final = absent_names(__name__)

__all__ = [  # noqa: F822
    "dynamic_key",
    "headers",
    "id",
    "last_heartbeat_details",
    "name",
    "parameters",
    "run_count",
    "tags",
    "task_name",
]


def __getattr__(name: str) -> Any:
    """Read an attribute of the current task run."""
    if name not in _READERS:
        from taskyard._prefect_names.small_members import RUNTIME

        if name in RUNTIME:
            return _absent(name)
        raise AttributeError(f"{__name__} has no attribute '{name}'; it has {', '.join(_READERS)}")
    read, empty = _READERS[name]
    context = TaskRunContext.get()
    return empty() if context is None else read(context)


def __dir__() -> list[str]:
    """List what can be read."""
    return sorted(_READERS)
