"""Recorded runs, their states and logs, from the control plane's messages. Data is decoded when asked for."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from taskyard._data.runs.records import FlowRun, TaskRun
from taskyard._data.runs.state import NO_DATA, State, StateDetails
from taskyard._data.runs.tracking import tracked_flow_run
from taskyard._data.values.failures import Decode, exception_of
from taskyard._durable_names import public
from taskyard.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    FlowRunTimeoutError,
    TaskRunTimeoutError,
    TaskyardError,
    TooManyWaitingRuns,
)
from taskyard_api.v1 import run_service_pb2, session_service_pb2
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, StateReason, shown_as

_FALLBACKS: dict[int, type[TaskyardError]] = {
    RunState.CRASHED: CrashedRun,
    RunState.CANCELLED: CancelledRun,
}


@public("taskyard.states")
def from_outcome(
    outcome: session_service_pb2.RunOutcome,
    decode: Decode,
    *,
    flow: bool = False,
    flow_run_id: bytes = b"",
) -> State[Any]:
    """Make the state that a run ended in.

    Args:
        outcome: What the control plane pushed.
        decode: Turns a payload into a value; called when the value is first asked for.
        flow: Whether the run is a flow run.
        flow_run_id: The flow run that a task run belongs to; nothing outside of flows.
    """
    state_type, name = shown_as(outcome.state, outcome.reason, outcome.state_name)
    run_id = _uuid(outcome.run_id)
    return State(
        state_type,
        name=name,
        message=outcome.message,
        timestamp=_time(outcome.ended_us),
        decode=_lazy_data(outcome, decode, FlowRunTimeoutError if flow else TaskRunTimeoutError),
        state_details=(
            StateDetails(flow_run_id=run_id)
            if flow
            else StateDetails(flow_run_id=_uuid(flow_run_id), task_run_id=run_id)
        ),
    )


@public("taskyard.states")
def from_run(run: run_service_pb2.Run, decode: Decode) -> State[Any]:
    """Make the state that a run is in, from its record."""
    state_type, name = shown_as(run.state, run.reason, run.state_name, run.attempt)
    return State(
        state_type,
        name=name,
        message=run.message,
        timestamp=_time(run.ended_us or run.started_us or run.submitted_us),
        decode=_lazy_data(run, decode, _timeout_of(run)),
        state_details=details_of(run),
    )


def details_of(run: run_service_pb2.Run) -> StateDetails:
    """Say which run a state is of, and with what key."""
    if int(run.kind) == RunKind.FLOW:
        return StateDetails(flow_run_id=_uuid(run.run_id), cache_key=run.cache_key or None)
    return StateDetails(
        flow_run_id=_uuid(run.flow_run_id),
        task_run_id=_uuid(run.run_id),
        child_flow_run_id=_uuid(tracked_flow_run(run.run_id)),
        cache_key=run.cache_key or None,
    )


def from_listed_run(
    run: run_service_pb2.Run, decode: Decode, read: Callable[[], run_service_pb2.Run]
) -> State[Any]:
    """Make the state that a run is in which came without its result, or its exception, as lists do.

    Args:
        run: The run.
        decode: Turns a payload into a value.
        read: Reads the run with its result; called when that is first asked for.
    """
    state = from_run(run, decode)
    if int(run.state) < FIRST_FINAL or int(run.state) == RunState.NOT_READY:
        return state

    def data() -> Any:
        found = _lazy_data(read(), decode, _timeout_of(run))
        return NO_DATA if found is None else found()

    return State(
        state.type,
        name=state.name,
        message=state.message,
        timestamp=state.timestamp,
        decode=data,
        state_details=state.state_details,
    )


def from_entry(entry: run_service_pb2.RunStateEntry, details: StateDetails | None = None) -> State[Any]:
    """Make a state that a run was in, from its history; values are those of the last one only."""
    state_type, name = shown_as(entry.state, entry.reason, entry.state_name, entry.attempt)
    return State(
        state_type, name=name, message=entry.message, timestamp=_time(entry.at_us), state_details=details
    )


def flow_run_of(run: run_service_pb2.Run, decode: Decode) -> FlowRun:
    """Make what users see of a flow run that was read; its parameters stay where its body runs."""
    found = FlowRun(
        run.run_id,
        run.name,
        flow_name=run.task_name,
        parent_run_id=run.caller_run_id,
        tags=run.tags,
        run_count=run.attempt,
    )
    found.state, found._started_ns = from_run(run, decode), _began_ns(run)
    return found


def task_run_of(run: run_service_pb2.Run, decode: Decode) -> TaskRun:
    """Make what users see of a task run that was read."""
    found = TaskRun(
        run.run_id,
        run.name,
        task_name=run.task_name,
        task_key=run.task_key,
        flow_run_id=run.flow_run_id,
        parent_run_id=run.caller_run_id,
        tags=run.tags,
        run_count=run.attempt,
    )
    found.state, found._started_ns = from_run(run, decode), _began_ns(run)
    return found


@public("taskyard.flow_runs")
class RunLog(NamedTuple):
    """A record of the log of a run."""

    run_id: UUID
    """The run that wrote it: in the log of a flow run, itself or one inside it."""
    run_name: str
    """The name of that run."""
    timestamp: datetime
    """When it was written, by the clock of its machine."""
    level: int
    """Its level, as `logging` has them."""
    name: str
    """Its logger."""
    message: str
    """Its text."""


@public("taskyard.flow_runs")
class RunLogs(Iterator[RunLog]):
    """The records of the log of a run, one after the other, and whether they are all there ever were."""

    def __init__(self, parts: Iterator[tuple[session_service_pb2.LogBatch, int]]) -> None:
        """Take the records from `parts`: some of them, and the time before which retention removed others."""
        self._parts = parts
        self._records: Iterator[RunLog] = iter(())
        self._removed_before_us: int | None = None

    def __next__(self) -> RunLog:
        """Return the next record; waits for it when the log is followed."""
        while (record := next(self._records, None)) is None:
            self._take(next(self._parts))
        return record

    @property
    def removed_before(self) -> datetime | None:
        """What the run logged before this time was removed by retention; None: nothing was.

        Asks the control plane, if no record was read yet.

        Raises:
            RunNotFound: There is no such run.
        """
        if self._removed_before_us is None and (part := next(self._parts, None)) is not None:
            self._take(part)
        return _time(self._removed_before_us or 0)

    def _take(self, part: tuple[session_service_pb2.LogBatch, int]) -> None:
        self._records = logs_of(part[0])
        if self._removed_before_us is None:
            self._removed_before_us = part[1]


def logs_of(batch: session_service_pb2.LogBatch) -> Iterator[RunLog]:
    """Iterate over the records of a part of a log."""
    columns = (batch.run_ids, batch.run_names, batch.at_us, batch.levels, batch.loggers, batch.messages)
    for run_id, run_name, at_us, level, name, message in zip(*columns, strict=True):
        at = datetime.fromtimestamp(at_us / 1_000_000, UTC)
        yield RunLog(UUID(bytes=run_id), run_name, at, level, name, message)


def _began_ns(run: run_service_pb2.Run) -> int:
    return 1000 * int(run.started_us or run.submitted_us)


def _lazy_data(
    source: session_service_pb2.RunOutcome | run_service_pb2.Run,
    decode: Decode,
    timeout: type[TaskyardError],
) -> Callable[[], Any] | None:
    """Say how to get the data of a state; None when it has none."""
    state = int(source.state)
    if source.HasField("failure"):
        return lambda: exception_of(source.failure, decode, _FALLBACKS.get(state, FailedRun))
    if source.HasField("result"):
        return lambda: decode(source.result)
    if state < FIRST_FINAL or state in (RunState.COMPLETED, RunState.NOT_READY):
        return None
    reason, kind = int(source.reason), _FALLBACKS.get(state, FailedRun)
    if reason == StateReason.TIMED_OUT:
        kind = timeout
    elif reason == StateReason.WAITING_REFUSED:
        kind = TooManyWaitingRuns
    return lambda: kind(source.message)


def _timeout_of(run: run_service_pb2.Run) -> type[TaskyardError]:
    is_flow = int(run.kind) == RunKind.FLOW or tracked_flow_run(run.run_id)
    return FlowRunTimeoutError if is_flow else TaskRunTimeoutError


def _uuid(raw: bytes) -> UUID | None:
    return UUID(bytes=raw) if raw else None


def _time(microseconds: int) -> datetime | None:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC) if microseconds else None
