"""What clients give and are given: `objects`, `filters`, `sorting`, `responses`."""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.client.schemas.objects import Flow, FlowRun, Log, State, StateDetails, StateType, TaskRun
from taskyard.client.schemas.responses import OrchestrationResult

__all__ = [
    "Flow",
    "FlowRun",
    "Log",
    "OrchestrationResult",
    "State",
    "StateDetails",
    "StateType",
    "TaskRun",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
