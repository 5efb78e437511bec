"""States and exceptions of recorded runs, from the control plane's messages.

Reading them must not fail: an exception that cannot be rebuilt here, because its class is not installed
or its pickle is damaged, is replaced by one of Taskyard's own that says what it was.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from taskyard._data.runs.state import State, StateDetails
from taskyard._durable_names import public
from taskyard.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    FlowRunTimeoutError,
    TaskRunTimeoutError,
    TaskyardError,
)
from taskyard_api.v1 import common_pb2, failure_pb2, run_service_pb2, session_service_pb2
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, StateReason, shown_as

Decode = Callable[[common_pb2.Payload], Any]

_FRAMES = "File "
"""Is in every traceback that says more than the exception's own text."""
_FALLBACKS: dict[int, type[TaskyardError]] = {
    RunState.CRASHED: CrashedRun,
    RunState.CANCELLED: CancelledRun,
}


@public("taskyard.states")
def from_outcome(
    outcome: session_service_pb2.RunOutcome, decode: Decode, *, flow: bool = False
) -> State[Any]:
    """Make the state that a run ended in.

    Args:
        outcome: What the control plane pushed.
        decode: Turns a payload into a value; called when the value is first asked for.
        flow: Whether the run is a flow run.
    """
    state_type, name = shown_as(outcome.state, outcome.reason, outcome.state_name)
    run_id = _uuid(outcome.run_id)
    return State(
        state_type,
        name=name,
        message=outcome.message,
        timestamp=_time(outcome.ended_us),
        decode=_lazy_data(outcome, decode, FlowRunTimeoutError if flow else TaskRunTimeoutError),
        state_details=StateDetails(flow_run_id=run_id) if flow else StateDetails(task_run_id=run_id),
    )


@public("taskyard.states")
def from_run(run: run_service_pb2.Run, decode: Decode) -> State[Any]:
    """Make the state that a run is in, from its record."""
    state_type, name = shown_as(run.state, run.reason, run.state_name, run.attempt)
    flow = int(run.kind) == RunKind.FLOW
    return State(
        state_type,
        name=name,
        message=run.message,
        timestamp=_time(run.ended_us or run.started_us or run.submitted_us),
        decode=_lazy_data(run, decode, FlowRunTimeoutError if flow else TaskRunTimeoutError),
        state_details=StateDetails(
            flow_run_id=_uuid(run.run_id if flow else run.flow_run_id),
            task_run_id=None if flow else _uuid(run.run_id),
            cache_key=run.cache_key or None,
        ),
    )


@public("taskyard.states")
def exception_of(
    failure: failure_pb2.Failure, decode: Decode, fallback: type[TaskyardError] = FailedRun
) -> BaseException:
    """Rebuild the exception that a failure describes.

    The traceback of the process where it was raised is added as a note, and the exception that caused
    it is rebuilt too.

    Args:
        failure: The recorded failure.
        decode: Turns a payload into a value.
        fallback: The type to use when the exception object is not available.
    """
    exception = _decoded_exception(failure, decode) or fallback(_text(failure))
    if _FRAMES in failure.traceback:
        exception.add_note(f"\nWhere it was raised:\n{failure.traceback.rstrip()}")
    if failure.HasField("cause"):
        exception.__cause__ = exception_of(failure.cause, decode)
    return exception


def _decoded_exception(failure: failure_pb2.Failure, decode: Decode) -> BaseException | None:
    if not failure.HasField("encoded"):
        return None
    try:
        value = decode(failure.encoded)
    except Exception:  # unpickling runs foreign code: its class may be missing, or refuse
        return None
    return value if isinstance(value, BaseException) else None


def _text(failure: failure_pb2.Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


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
    kind = timeout if int(source.reason) == StateReason.TIMED_OUT else _FALLBACKS.get(state, FailedRun)
    return lambda: kind(source.message)


def _uuid(raw: bytes) -> UUID | None:
    return UUID(bytes=raw) if raw else None


def _time(microseconds: int) -> datetime | None:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC) if microseconds else None
