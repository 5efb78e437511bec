"""What the control plane has recorded of flows and runs, as clients see it.

Pydantic models, unlike the records that contexts and hooks show: whoever reads runs from outside writes them
to files and answers of web services (`model_dump`, `model_dump_json`) and puts them into models of their own.
Nothing on the way of a run is made of them, so what they cost is paid by readers alone.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from taskyard._data.runs.state import State, StateDetails
from taskyard._missing_features import absent_names
from taskyard_contract.states import StateType

__all__ = [
    "Artifact",
    "Constant",
    "Flow",
    "FlowRun",
    "FlowRunPolicy",
    "FlowRunResult",
    "Log",
    "Parameter",
    "State",
    "StateDetails",
    "StateType",
    "TERMINAL_STATES",
    "TaskRun",
    "TaskRunResult",
]


class _Details(BaseModel):
    """What `StateDetails` holds, when it comes from a document."""

    model_config = ConfigDict(extra="forbid")

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    child_flow_run_id: UUID | None = None
    scheduled_time: datetime | None = None
    cache_key: str | None = None
    cache_expiration: timedelta | None = None
    pause_timeout: datetime | None = None
    retriable: bool | None = None


class _StateDocument(BaseModel):
    """What a state is without its value."""

    model_config = ConfigDict(extra="forbid")

    type: StateType
    name: str | None = None
    message: str | None = None
    timestamp: datetime | None = None
    state_details: _Details = Field(default_factory=_Details)


def _state_of(value: Any) -> State[Any]:
    """Return a state as it is, or from what `_state_document` made of one: without its value."""
    if isinstance(value, State):
        return value
    given = _StateDocument.model_validate(value)
    details = StateDetails(**given.state_details.model_dump())
    return State(
        given.type, name=given.name, message=given.message, timestamp=given.timestamp, state_details=details
    )


def _state_document(state: State[Any]) -> dict[str, Any]:
    """Return a state without its value, which may be any object."""
    details = {name: getattr(state.state_details, name) for name in StateDetails.__slots__}
    return {
        "type": state.type,
        "name": state.name,
        "message": state.message,
        "timestamp": state.timestamp,
        "state_details": {name: value for name, value in details.items() if value is not None},
    }


RunState = Annotated[State[Any], PlainValidator(_state_of), PlainSerializer(_state_document)]


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Flow(_Object):
    """A flow, known by the name that its runs have."""

    id: UUID
    """Made of the name, so it is the same wherever it is asked for."""
    name: str
    """Its name."""


TERMINAL_STATES: Final = frozenset(
    [StateType.COMPLETED, StateType.CANCELLED, StateType.FAILED, StateType.CRASHED]
)
"""Types of states that a run ends in."""


class FlowRunPolicy(_Object):
    """When and how often a flow run is repeated after a failure."""

    retries: int = 0
    """Attempts after the first one."""
    retry_delay: float | list[float] | None = None
    """Seconds before each of them; of a list, the last number serves all further ones."""


class TaskRunResult(_Object):
    """The result of another task run, as an input of a task run."""

    input_type: str = "task_run"
    id: UUID
    """That task run."""


class FlowRunResult(_Object):
    """The result of a subflow, as an input of a task run."""

    input_type: str = "flow_run"
    id: UUID
    """That flow run."""


class Parameter(_Object):
    """A parameter of the flow, as an input. Not recorded here: for the annotations of programs."""

    input_type: str = "parameter"
    name: str


class Constant(_Object):
    """A plain value, as an input. Not recorded here: for the annotations of programs."""

    input_type: str = "constant"
    type: str


class _Run(_Object):
    """What runs of both kinds have. Times are in UTC."""

    id: UUID
    """The run."""
    name: str
    """Its name."""
    created: datetime | None = None
    """When it was submitted."""
    tags: list[str] = Field(default_factory=list)
    """Its tags."""
    run_count: int = 0
    """How many attempts were begun."""
    expected_start_time: datetime | None = None
    """When it was submitted: nothing is scheduled for later."""
    next_scheduled_start_time: datetime | None = None
    """When its next attempt is due, while it waits for that."""
    start_time: datetime | None = None
    """When its last attempt began; None while none has."""
    end_time: datetime | None = None
    """When it ended; None while it is open."""
    total_run_time: timedelta = timedelta(0)
    """How long its last attempt took; 0 while it is executed."""
    state: RunState
    """The state it was in when it was read. `state.result()` reads its value when it is called."""
    state_type: StateType
    """The type of that state."""
    state_name: str
    """The name of that state."""

    @property
    def estimated_run_time(self) -> timedelta:
        """How long its last attempt took or, by this machine's clock, has taken up to now."""
        if self.start_time is None or self.end_time is not None:
            return self.total_run_time
        return max(datetime.now(UTC) - self.start_time, timedelta(0))

    @property
    def estimated_start_time_delta(self) -> timedelta:
        """How long it waited for its start, or has waited up to now; 0 when it ended without one."""
        until = self.start_time or (None if self.end_time else datetime.now(UTC))
        if until is None or self.expected_start_time is None:
            return timedelta(0)
        return max(until - self.expected_start_time, timedelta(0))


class FlowRun(_Run):
    """A run of a flow, as it is recorded."""

    flow_id: UUID
    """Its flow's id, see `Flow`."""
    flow_name: str
    """Its flow's name."""
    flow_version: str | None = None
    """The version that the flow has declared."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """What it was called with: plain values as they are, what JSON does not have as text. Empty when that
    could not be recorded, or takes more than 64 KiB."""
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    """Its retries."""
    parent_flow_run_id: UUID | None = None
    """The flow run it was called in; None for a flow of its own."""
    parent_task_run_id: UUID | None = None
    """The task run that stands for it in the flow run it was called in, and is always in its state; outside
    of flows the task run that called it."""
    deployment_id: UUID | None = None
    """None: there are no deployments."""
    auto_scheduled: bool = False
    """False: there are no schedules."""


class TaskRun(_Run):
    """A run of a task, as it is recorded."""

    task_name: str
    """Its task's name."""
    task_key: str
    """Identity of its task."""
    flow_run_id: UUID | None = None
    """The flow run it belongs to; None outside of flows."""
    parent_task_run_id: UUID | None = None
    """The task run that called it, when it was not the flow itself."""
    cache_key: str | None = None
    """Its cache key."""
    task_inputs: dict[str, list[TaskRunResult | FlowRunResult]] = Field(default_factory=dict)
    """The runs it depends on: `arguments`, whose results it is given (in which parameters is not recorded),
    as futures or as values, and `wait_for`, for whose ends it only waits."""


class Log(_Object):
    """A record of the log of a run."""

    name: str
    """Its logger."""
    level: int
    """Its level, as `logging` has them."""
    message: str
    """Its text."""
    timestamp: datetime
    """When it was written, by the clock of its machine."""
    flow_run_id: UUID | None = None
    """The flow run it belongs to."""
    task_run_id: UUID | None = None
    """The task run that wrote it; None when the flow run itself did."""


class Artifact(_Object):
    """What a run has left for people to see, see `taskyard.artifacts`."""

    id: UUID
    """Its id."""
    key: str | None = None
    """What people look for it under; those of one key are its versions."""
    type: str | None = None
    """What `data` is: "markdown", "table", "progress", "image", or a word of the program's."""
    description: str | None = None
    """What it is about, Markdown."""
    data: Any = None
    """What is to be seen: a text, of a table JSON, or a number of percent."""
    metadata_: dict[str, str] | None = None
    """Further words about it."""
    flow_run_id: UUID | None = None
    """The flow run it was made in."""
    task_run_id: UUID | None = None
    """The task run that made it; None when the flow run itself did."""
    created: datetime
    """When it was made, by the clock of the machine that made it."""
    updated: datetime
    """When it was changed last, by the clock of the control plane."""


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
