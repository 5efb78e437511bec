"""Automations: what is done when something happens. The control plane has none yet, see `taskyard.events`."""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.events.actions import (
    CallWebhook,
    CancelFlowRun,
    ChangeFlowRunState,
    DoNothing,
    PauseAutomation,
    PauseDeployment,
    ResumeAutomation,
    ResumeDeployment,
    RunDeployment,
    SendNotification,
    SuspendFlowRun,
)
from taskyard.events.schemas.automations import (
    Automation,
    AutomationCore,
    CompoundTrigger,
    EventTrigger,
    MetricTrigger,
    Posture,
    SequenceTrigger,
)
from taskyard.events.schemas.events import ResourceSpecification

__all__ = [
    "Automation",
    "AutomationCore",
    "CallWebhook",
    "CancelFlowRun",
    "ChangeFlowRunState",
    "CompoundTrigger",
    "DoNothing",
    "EventTrigger",
    "MetricTrigger",
    "PauseAutomation",
    "PauseDeployment",
    "Posture",
    "ResourceSpecification",
    "ResumeAutomation",
    "ResumeDeployment",
    "RunDeployment",
    "SendNotification",
    "SequenceTrigger",
    "SuspendFlowRun",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
