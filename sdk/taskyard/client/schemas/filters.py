"""Which flows, runs and log records clients mean.

A field that is None says nothing, an empty list fits nothing. Invariant: a filter has no field that is not
answered; those that Prefect has and nothing here can answer are refused by name where they are written.
"""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from taskyard._missing_features import absent_names, with_page
from taskyard_contract.states import StateType

__all__ = [
    "ArtifactFilter",
    "ArtifactFilterFlowRunId",
    "ArtifactFilterId",
    "ArtifactFilterKey",
    "ArtifactFilterTaskRunId",
    "ArtifactFilterType",
    "FlowFilter",
    "FlowFilterId",
    "FlowFilterName",
    "FlowRunFilter",
    "FlowRunFilterEndTime",
    "FlowRunFilterExpectedStartTime",
    "FlowRunFilterId",
    "FlowRunFilterName",
    "FlowRunFilterNextScheduledStartTime",
    "FlowRunFilterParentFlowRunId",
    "FlowRunFilterParentTaskRunId",
    "FlowRunFilterStartTime",
    "FlowRunFilterState",
    "FlowRunFilterStateName",
    "FlowRunFilterStateType",
    "FlowRunFilterTags",
    "LogFilter",
    "LogFilterFlowRunId",
    "LogFilterLevel",
    "LogFilterTaskRunId",
    "LogFilterTimestamp",
    "Operator",
    "TaskRunFilter",
    "TaskRunFilterExpectedStartTime",
    "TaskRunFilterFlowRunId",
    "TaskRunFilterId",
    "TaskRunFilterName",
    "TaskRunFilterStartTime",
    "TaskRunFilterState",
    "TaskRunFilterStateName",
    "TaskRunFilterStateType",
    "TaskRunFilterSubFlowRuns",
    "TaskRunFilterTags",
]


def _with_zone(moment: datetime) -> datetime:
    """Return a time with its zone; without one it is local, as everywhere in Python."""
    return moment if moment.tzinfo is not None else moment.astimezone()


Moment = Annotated[datetime, AfterValidator(_with_zone)]


class Operator(str, Enum):
    """How the parts of a filter are combined."""

    and_ = "and_"
    or_ = "or_"


class _Filter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_absent(cls, given: Any) -> Any:
        """Say why a field is not there that Prefect has."""
        if not isinstance(given, dict):
            return given
        from taskyard._prefect_names.filters import FIELDS

        for name, value in given.items():
            why = FIELDS.get(cls.__name__, {}).get(name)
            if why and value is not None:
                raise ValueError(f"{cls.__name__} cannot have '{name}': {with_page(why)}")
        return {name: value for name, value in given.items() if name not in FIELDS.get(cls.__name__, {})}


class _Combined(_Filter):
    operator: Operator = Operator.and_
    """Whether all parts have to fit, or any."""


class _Ids(_Filter):
    any_: list[UUID] | None = None
    """Only these."""


class _IdsOrNone(_Combined):
    any_: list[UUID] | None = None
    """Only these."""
    is_null_: bool | None = None
    """True: only those without one. False: only those with one."""


class _Names(_Filter):
    any_: list[str] | None = None
    """Only those of exactly these names."""
    like_: str | None = None
    """Only those whose names contain this, in upper or lower case."""


class _Types(_Filter):
    any_: list[StateType] | None = None
    """Only those in a state of one of these types."""
    not_any_: list[StateType] | None = None
    """None of those in a state of one of these types."""


class _StateNames(_Filter):
    any_: list[str] | None = None
    """Only those in a state of one of these names."""
    not_any_: list[str] | None = None
    """None of those in a state of one of these names."""


class _Tags(_Combined):
    all_: list[str] | None = None
    """Only those that have all of these."""
    any_: list[str] | None = None
    """Only those that have one of these."""
    is_null_: bool | None = None
    """True: only those without tags. False: only those with any."""


class _Times(_Filter):
    before_: Moment | None = None
    """Only at this time or before."""
    after_: Moment | None = None
    """Only at this time or after."""


class _TimesOrNone(_Times):
    is_null_: bool | None = None
    """True: only those without such a time. False: only those with one."""


class FlowFilterId(_Ids):
    """By the ids of flows."""


class FlowFilterName(_Names):
    """By the names of flows."""


class FlowFilter(_Combined):
    """Which flows, or runs of which flows."""

    id: FlowFilterId | None = None
    name: FlowFilterName | None = None


class FlowRunFilterId(_Ids):
    """By the ids of flow runs. At most 1,000 may be wanted."""

    not_any_: list[UUID] | None = None
    """All but these."""


class FlowRunFilterName(_Names):
    """By the names of flow runs."""


class FlowRunFilterTags(_Tags):
    """By the tags of flow runs."""


class FlowRunFilterStateType(_Types):
    """By the types of the states that flow runs are in."""


class FlowRunFilterStateName(_StateNames):
    """By the names of the states that flow runs are in."""


class FlowRunFilterState(_Combined):
    """By the states that flow runs are in."""

    type: FlowRunFilterStateType | None = None
    name: FlowRunFilterStateName | None = None


class FlowRunFilterStartTime(_TimesOrNone):
    """By the beginning of the last attempt."""


class FlowRunFilterEndTime(_TimesOrNone):
    """By the end."""


class FlowRunFilterExpectedStartTime(_Times):
    """By the time of submission. It says where to search, so with it nothing else is looked at."""


class FlowRunFilterNextScheduledStartTime(_Times):
    """By the time at which the next attempt is due."""


class FlowRunFilterParentFlowRunId(_IdsOrNone):
    """By the flow runs they were called in."""


class FlowRunFilterParentTaskRunId(_IdsOrNone):
    """By the task runs that stand for them where they were called; outside of flows, that called them."""


class FlowRunFilter(_Combined):
    """Which flow runs."""

    id: FlowRunFilterId | None = None
    name: FlowRunFilterName | None = None
    tags: FlowRunFilterTags | None = None
    state: FlowRunFilterState | None = None
    start_time: FlowRunFilterStartTime | None = None
    end_time: FlowRunFilterEndTime | None = None
    expected_start_time: FlowRunFilterExpectedStartTime | None = None
    next_scheduled_start_time: FlowRunFilterNextScheduledStartTime | None = None
    parent_flow_run_id: FlowRunFilterParentFlowRunId | None = None
    parent_task_run_id: FlowRunFilterParentTaskRunId | None = None


class TaskRunFilterId(_Ids):
    """By the ids of task runs. At most 1,000 may be wanted."""


class TaskRunFilterName(_Names):
    """By the names of task runs."""


class TaskRunFilterTags(_Tags):
    """By the tags of task runs."""


class TaskRunFilterStateType(_Types):
    """By the types of the states that task runs are in."""


class TaskRunFilterStateName(_StateNames):
    """By the names of the states that task runs are in."""


class TaskRunFilterState(_Combined):
    """By the states that task runs are in."""

    type: TaskRunFilterStateType | None = None
    name: TaskRunFilterStateName | None = None


class TaskRunFilterStartTime(_TimesOrNone):
    """By the beginning of the last attempt."""


class TaskRunFilterExpectedStartTime(_Times):
    """By the time of submission, as `FlowRunFilterExpectedStartTime`."""


class TaskRunFilterFlowRunId(_IdsOrNone):
    """By the flow runs they belong to."""


class TaskRunFilterSubFlowRuns(_Filter):
    """By whether they stand for a subflow in the flow run that called it."""

    exists_: bool | None = None
    """True: only these; False: only others."""


class TaskRunFilter(_Combined):
    """Which task runs."""

    id: TaskRunFilterId | None = None
    name: TaskRunFilterName | None = None
    tags: TaskRunFilterTags | None = None
    state: TaskRunFilterState | None = None
    start_time: TaskRunFilterStartTime | None = None
    expected_start_time: TaskRunFilterExpectedStartTime | None = None
    flow_run_id: TaskRunFilterFlowRunId | None = None
    subflow_runs: TaskRunFilterSubFlowRuns | None = None


class LogFilterLevel(_Filter):
    """By the level, as `logging` has them."""

    ge_: int | None = None
    """Only this level or above."""
    le_: int | None = None
    """Only this level or below."""


class LogFilterTimestamp(_Times):
    """By the time at which they were written."""


class LogFilterFlowRunId(_Ids):
    """By the flow runs they belong to."""


class LogFilterTaskRunId(_IdsOrNone):
    """By the task runs that wrote them."""


class LogFilter(_Combined):
    """Which log records. Logs are kept by run, so `flow_run_id` or `task_run_id` has to say whose."""

    level: LogFilterLevel | None = None
    timestamp: LogFilterTimestamp | None = None
    flow_run_id: LogFilterFlowRunId | None = None
    task_run_id: LogFilterTaskRunId | None = None


class ArtifactFilterId(_Ids):
    """By their ids."""


class ArtifactFilterKey(_Names):
    """By their keys."""

    exists_: bool | None = None
    """True: only those with a key. False: only those without one."""


class ArtifactFilterFlowRunId(_Ids):
    """By the flow runs they were made in."""


class ArtifactFilterTaskRunId(_Ids):
    """By the task runs that made them."""


class ArtifactFilterType(_Filter):
    """By what they are."""

    any_: list[str] | None = None
    """Only those of one of these types."""
    not_any_: list[str] | None = None
    """None of those of one of these types."""


class ArtifactFilter(_Combined):
    """Which artifacts."""

    id: ArtifactFilterId | None = None
    key: ArtifactFilterKey | None = None
    type: ArtifactFilterType | None = None
    flow_run_id: ArtifactFilterFlowRunId | None = None
    task_run_id: ArtifactFilterTaskRunId | None = None


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
