"""Deployments: flows that the control plane starts by itself. It has none yet."""

from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import refuse

__all__ = ["adeploy", "arun_deployment", "deploy", "run_deployment"]


def run_deployment(name: Any, *args: Any, **options: Any) -> Any:
    """Start a run of a deployment.

    Raises:
        NotSupported: Always; there are no deployments yet.
    """
    refuse(f"taskyard.deployments.run_deployment({name!r})", reasons.DEPLOY)


def arun_deployment(name: Any, *args: Any, **options: Any) -> Any:
    """Refuse, like `run_deployment`.

    Raises:
        NotSupported: Always.
    """
    refuse(f"taskyard.deployments.arun_deployment({name!r})", reasons.DEPLOY)


def deploy(*deployments: Any, **options: Any) -> Any:
    """Make deployments of flows.

    Raises:
        NotSupported: Always; there are no deployments yet.
    """
    refuse("taskyard.deploy(...)", reasons.DEPLOY)


def adeploy(*deployments: Any, **options: Any) -> Any:
    """Refuse, like `deploy`.

    Raises:
        NotSupported: Always.
    """
    refuse("taskyard.deployments.adeploy(...)", reasons.DEPLOY)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
