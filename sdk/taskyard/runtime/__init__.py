"""What runs know about themselves, as plain attributes: ``taskyard.runtime.flow_run.id``.

Outside of runs every attribute has an empty value, so that code can be used in both places.
"""

from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names
from taskyard.runtime import deployment, flow_run, task_run

if TYPE_CHECKING:
    from taskyard.runtime.heartbeats import heartbeat

__all__ = ["deployment", "flow_run", "heartbeat", "task_run"]

_absent = absent_names(__name__)


def __getattr__(name: str) -> Any:
    """Import `heartbeat` when it is first used: it brings messages along."""
    if name != "heartbeat":
        return _absent(name)
    from taskyard.runtime.heartbeats import heartbeat

    return heartbeat
