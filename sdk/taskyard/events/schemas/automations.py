"""Automations and what starts them: names for annotations, of which none can be made in this release."""

from enum import Enum
from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import Refused, refuse

__all__ = [
    "Automation",
    "AutomationCore",
    "CompoundTrigger",
    "EventTrigger",
    "MetricTrigger",
    "Posture",
    "SequenceTrigger",
    "Trigger",
]


class Posture(str, Enum):
    """What a trigger waits for: that something happens, or that it does not."""

    Reactive = "Reactive"
    Proactive = "Proactive"
    Metric = "Metric"


class Trigger(Refused):
    """What starts an automation."""

    why_refused = reasons.EVENTS


class EventTrigger(Trigger):
    """Starts one when events happen, or do not."""


class MetricTrigger(Trigger):
    """Starts one when a measure crosses a threshold."""


class CompoundTrigger(Trigger):
    """Starts one when several triggers have fired."""


class SequenceTrigger(Trigger):
    """Starts one when several triggers have fired, one after the other."""


class AutomationCore(Refused):
    """What is to be done when a trigger fires."""

    why_refused = reasons.EVENTS


class Automation(AutomationCore):
    """The same, as the control plane keeps it."""

    @classmethod
    def read(cls, *args: Any, **options: Any) -> Any:
        """Refuse to read one."""
        refuse("taskyard.automations.Automation.read(...)", cls.why_refused)

    @classmethod
    def aread(cls, *args: Any, **options: Any) -> Any:
        """Refuse, like `read`."""
        refuse("taskyard.automations.Automation.aread(...)", cls.why_refused)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
