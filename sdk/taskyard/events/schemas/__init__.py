"""What events, and automations, are made of."""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.events.schemas import automations, deployment_triggers, events

__all__ = ["automations", "deployment_triggers", "events"]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
