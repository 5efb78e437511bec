"""What runs know about themselves, as plain attributes: ``taskyard.runtime.flow_run.id``.

Outside of runs every attribute has an empty value, so that code can be used in both places.
"""

from taskyard.runtime import flow_run, task_run

__all__ = ["flow_run", "task_run"]
