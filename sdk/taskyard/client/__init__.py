"""Clients of a control plane: what it has recorded of flows, runs and logs, and the end of runs."""

from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names

if TYPE_CHECKING:
    from taskyard.client import schemas
    from taskyard.client.orchestration import SyncTaskyardClient, TaskyardClient, get_client

__all__ = ["SyncTaskyardClient", "TaskyardClient", "get_client", "schemas"]

_absent = absent_names(__name__)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used: who only needs filters needs no calls."""
    from importlib import import_module

    if name in ("orchestration", "schemas"):
        return import_module(f"taskyard.client.{name}")
    if name not in __all__:
        return _absent(name)
    return getattr(import_module("taskyard.client.orchestration"), name)
