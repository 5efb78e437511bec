"""Attributes of the deployment that the current flow run was started by: id, name, version, flow_run_id,
parameters.

Programs read them to know whether they were deployed. This release starts no deployments, so they are always
empty, as they are outside of a deployment: None, and no parameters.
"""

from typing import Any, Final

_EMPTY: Final[dict[str, Any]] = {
    "id": None,
    "name": None,
    "version": None,
    "flow_run_id": None,
}

__all__ = ["flow_run_id", "id", "name", "parameters", "version"]  # noqa: F822


def __getattr__(name: str) -> Any:
    """Read an attribute."""
    if name == "parameters":
        return {}
    if name not in _EMPTY:
        raise AttributeError(f"{__name__} has no attribute '{name}'; it has {', '.join(__all__)}")
    return _EMPTY[name]


def __dir__() -> list[str]:
    """List what can be read."""
    return sorted(__all__)
