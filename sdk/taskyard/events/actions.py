"""What automations do: names for annotations, of which none can be made in this release."""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import Refused

__all__ = [
    "Action",
    "CallWebhook",
    "CancelFlowRun",
    "ChangeFlowRunState",
    "DoNothing",
    "PauseAutomation",
    "PauseDeployment",
    "ResumeAutomation",
    "ResumeDeployment",
    "RunDeployment",
    "SendNotification",
    "SuspendFlowRun",
]


class Action(Refused):
    """What an automation does."""

    why_refused = reasons.EVENTS


class DoNothing(Action):
    """Only says that it was started."""


class RunDeployment(Action):
    """Starts a run of a deployment."""


class PauseDeployment(Action):
    """Stops a deployment's schedules."""


class ResumeDeployment(Action):
    """Starts them again."""


class ChangeFlowRunState(Action):
    """Puts a flow run into a state."""


class CancelFlowRun(Action):
    """Cancels a flow run."""


class SuspendFlowRun(Action):
    """Suspends a flow run."""


class CallWebhook(Action):
    """Sends a request."""


class SendNotification(Action):
    """Writes to somebody."""


class PauseAutomation(Action):
    """Stops an automation."""


class ResumeAutomation(Action):
    """Starts it again."""


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
