"""What starts deployments: names for annotations, of which none can be made in this release."""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import Refused

__all__ = [
    "DeploymentCompoundTrigger",
    "DeploymentEventTrigger",
    "DeploymentMetricTrigger",
    "DeploymentSequenceTrigger",
]


class _DeploymentTrigger(Refused):
    why_refused = reasons.DEPLOY


class DeploymentEventTrigger(_DeploymentTrigger):
    """Starts one when events happen, or do not."""


class DeploymentMetricTrigger(_DeploymentTrigger):
    """Starts one when a measure crosses a threshold."""


class DeploymentCompoundTrigger(_DeploymentTrigger):
    """Starts one when several triggers have fired."""


class DeploymentSequenceTrigger(_DeploymentTrigger):
    """Starts one when several triggers have fired, one after the other."""


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
