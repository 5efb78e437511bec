"""Flows whose task runs are executed on the nodes of a Ray cluster.

pip install 'taskyard[ray]'
"""

from taskyard_ray.task_runners import RayTaskRunner

__all__ = ["RayTaskRunner"]
