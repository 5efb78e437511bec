"""In which order clients list things."""

from enum import Enum
from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names

__all__ = ["ArtifactSort", "FlowRunSort", "FlowSort", "LogSort", "TaskRunSort"]


class FlowRunSort(str, Enum):
    """Orders of flow runs. The first three are the control plane's own; for others all that fit are read."""

    ID_DESC = "ID_DESC"
    """Newest first."""
    EXPECTED_START_TIME_DESC = "EXPECTED_START_TIME_DESC"
    EXPECTED_START_TIME_ASC = "EXPECTED_START_TIME_ASC"
    START_TIME_ASC = "START_TIME_ASC"
    START_TIME_DESC = "START_TIME_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    NEXT_SCHEDULED_START_TIME_ASC = "NEXT_SCHEDULED_START_TIME_ASC"
    END_TIME_DESC = "END_TIME_DESC"


class TaskRunSort(str, Enum):
    """Orders of task runs, as `FlowRunSort`."""

    ID_DESC = "ID_DESC"
    """Newest first."""
    EXPECTED_START_TIME_DESC = "EXPECTED_START_TIME_DESC"
    EXPECTED_START_TIME_ASC = "EXPECTED_START_TIME_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    NEXT_SCHEDULED_START_TIME_ASC = "NEXT_SCHEDULED_START_TIME_ASC"
    END_TIME_DESC = "END_TIME_DESC"


class LogSort(str, Enum):
    """Orders of log records."""

    TIMESTAMP_ASC = "TIMESTAMP_ASC"
    TIMESTAMP_DESC = "TIMESTAMP_DESC"


class FlowSort(str, Enum):
    """Orders of flows."""

    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


class ArtifactSort(str, Enum):
    """Orders of artifacts."""

    ID_DESC = "ID_DESC"
    """Newest first."""
    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    UPDATED_ASC = "UPDATED_ASC"
    KEY_ASC = "KEY_ASC"
    KEY_DESC = "KEY_DESC"


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
