"""What runs know about themselves, as plain attributes: ``taskyard.runtime.flow_run.id``.

Outside of runs every attribute has an empty value, so that code can be used in both places.
"""

from typing import TYPE_CHECKING, Any

from taskyard.runtime import flow_run, task_run

if TYPE_CHECKING:
    from taskyard.runtime.heartbeats import heartbeat

__all__ = ["flow_run", "heartbeat", "task_run"]


def __getattr__(name: str) -> Any:
    """Import `heartbeat` when it is first used: it brings messages along."""
    if name != "heartbeat":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from taskyard.runtime.heartbeats import heartbeat

    return heartbeat
