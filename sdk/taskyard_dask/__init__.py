"""Flows whose task runs are executed by the workers of a Dask cluster.

pip install 'taskyard[dask]'
"""

from taskyard_dask.task_runners import DaskTaskRunner

__all__ = ["DaskTaskRunner"]
