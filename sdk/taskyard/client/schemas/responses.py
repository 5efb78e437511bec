"""What clients are answered when they ask for another state of a run."""

from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from taskyard._missing_features import absent_names
from taskyard.client.schemas.objects import RunState

__all__ = ["OrchestrationResult", "SetStateStatus", "StateAbortDetails", "StateAcceptDetails"]

R = TypeVar("R")


class SetStateStatus(str, Enum):
    """What became of the request."""

    ACCEPT = "ACCEPT"
    ABORT = "ABORT"


class StateAcceptDetails(BaseModel):
    """It was accepted."""

    type: str = "accept_details"


class StateAbortDetails(BaseModel):
    """It came too late."""

    type: str = "abort_details"
    reason: str | None = None
    """Why, for people."""


class OrchestrationResult(BaseModel, Generic[R]):
    """The answer."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    state: RunState
    """The state that the run is in now."""
    status: SetStateStatus
    """What became of the request."""
    details: StateAcceptDetails | StateAbortDetails
    """More about it."""


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
