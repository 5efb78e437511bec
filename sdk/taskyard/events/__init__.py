"""Events: what happened to something, said to whoever listens. The control plane does not take them yet.

An `Event` is a value, and can be made; sending one, listening, and automations raise
`taskyard.exceptions.NotSupported`. Hooks of tasks and flows (`on_completion` and others) are called for ends.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.events.actions import (
    Action,
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
from taskyard.events.clients import get_events_client, get_events_subscriber
from taskyard.events.schemas.automations import (
    Automation,
    AutomationCore,
    CompoundTrigger,
    EventTrigger,
    MetricTrigger,
    Posture,
    SequenceTrigger,
    Trigger,
)
from taskyard.events.schemas.deployment_triggers import (
    DeploymentCompoundTrigger,
    DeploymentEventTrigger,
    DeploymentMetricTrigger,
    DeploymentSequenceTrigger,
)
from taskyard.events.schemas.events import (
    Event,
    ReceivedEvent,
    RelatedResource,
    Resource,
    ResourceSpecification,
)
from taskyard.events.utilities import emit_event

__all__ = [
    "Action",
    "Automation",
    "AutomationCore",
    "CallWebhook",
    "CancelFlowRun",
    "ChangeFlowRunState",
    "CompoundTrigger",
    "DeploymentCompoundTrigger",
    "DeploymentEventTrigger",
    "DeploymentMetricTrigger",
    "DeploymentSequenceTrigger",
    "DoNothing",
    "Event",
    "EventTrigger",
    "MetricTrigger",
    "PauseAutomation",
    "PauseDeployment",
    "Posture",
    "ReceivedEvent",
    "RelatedResource",
    "Resource",
    "ResourceSpecification",
    "ResumeAutomation",
    "ResumeDeployment",
    "RunDeployment",
    "SendNotification",
    "SequenceTrigger",
    "SuspendFlowRun",
    "Trigger",
    "emit_event",
    "get_events_client",
    "get_events_subscriber",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
