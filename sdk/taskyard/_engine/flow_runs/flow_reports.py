"""The messages in which a process reports what happened to its flow runs.

Invariant: a value that cannot be recorded is left out; it is still what the caller of the flow gets.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.state import State, is_state, is_state_iterable
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._network.session.blobs import pieces_of
from taskyard._network.session.session import Session
from taskyard.exceptions import NotSerializable, TaskyardError
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.clock import wall_us
from taskyard_contract.encodings import BUFFERS, PICKLE, encode_as, refusal_of
from taskyard_contract.failures import failure_of, text_of
from taskyard_contract.pickling import dumps_apart
from taskyard_contract.states import FlowEvent, StateReason, StateType
from taskyard_contract.values.layout import LaidOut
from taskyard_contract.wire_text import NAME_LIMIT, cut

if TYPE_CHECKING:
    from taskyard._engine.results.inheriting import Inherited

logger = logging.getLogger("taskyard.flows")


_EVENTS: Final = {
    StateType.COMPLETED: FlowEvent.SUCCEEDED,
    StateType.FAILED: FlowEvent.FAILED,
    StateType.CANCELLED: FlowEvent.CANCELLED,
    StateType.CRASHED: FlowEvent.INTERRUPTED,
}


def report_of(run_id: bytes, attempt: int, event: FlowEvent, message: str = "") -> pb.FlowReport:
    """Return a report about an attempt of a flow run, as of now."""
    return pb.FlowReport(
        run_id=run_id,
        attempt=attempt,
        event=event,  # type: ignore[arg-type]  # the enums are numerically equal
        occurred_us=wall_us(),
        message=cut(message),
    )


def end_report(run_id: bytes, attempt: int, state: State[Any], cancel_requested: bool) -> pb.FlowReport:
    """Return the report about the state that an attempt ended in, without its value."""
    event = _EVENTS.get(state.type, FlowEvent.FAILED)
    report = report_of(run_id, attempt, event, state.message or "")
    if state.name != state.type.value.title():
        report.state_name = cut(state.name, NAME_LIMIT)
    report.reason = _reason_of(state, cancel_requested)  # type: ignore[assignment]  # equal enums
    if isinstance(state.data, BaseException) and not state.is_completed():
        report.failure.CopyFrom(failure_of(state.data))
    return report


def _reason_of(state: State[Any], cancel_requested: bool) -> int:
    if state.is_crashed():
        return StateReason.INTERRUPTED
    if state.name == "TimedOut":
        return StateReason.TIMED_OUT
    return StateReason.CANCEL_REQUESTED if cancel_requested else StateReason.NONE


def parameters_for_record(parameters: dict[str, Any], session: Session) -> bytes:
    """Return the parameters of a flow for its record; only who resumes it needs them: they may be missing."""
    try:
        data = dumps_apart(((), parameters))
    except (Exception, SystemExit):  # pickling runs foreign code; a flow may take anything
        return b""
    pieces, size = pieces_of(data)
    return b"".join(pieces) if isinstance(data, bytes) and size <= session.max_payload_bytes else b""


def is_value(value: Any) -> bool:
    """Say whether what a flow returned is a value, and does not stand for its runs."""
    return not (is_state(value) or is_state_iterable(value))


def state_read_again(state: State[Any], read: Callable[[], Any], keeps: bool) -> State[Any]:
    """Return a state whose data is read where it was stored."""
    again = State[Any](state.type, name=state.name, message=state.message, decode=read)
    if not keeps:
        again.keep_nothing()
    return again


def inherited_inside(flow: FlowDefinition[..., Any], outer: "Inherited | None") -> "Inherited | None":
    """Return what is said of results for everything that is called in a flow; None for nothing."""
    settings = flow.settings
    if settings.persists is None:
        return outer
    from taskyard._engine.results.inheriting import inherited_from

    return inherited_from(settings, outer)


def written_value(value: Any, encoding: str) -> bytes | None:
    """Return a flow's value in the encoding that it is to have; None if there is nothing to record.

    Raises:
        NotSerializable: It has no form there.
    """
    if not is_value(value):
        return None  # its runs are recorded themselves
    try:
        return encode_as(value, encoding)
    except (ValueError, TypeError) as error:
        raise NotSerializable(refusal_of(value, encoding, error)) from None


def pickled_value(value: Any) -> bytes | LaidOut | None:
    """Return a flow's value as a pickle; None if there is nothing that could be recorded."""
    if not is_value(value):
        return None  # as above
    try:
        return dumps_apart(value)
    except (Exception, SystemExit) as error:  # pickling runs foreign code, but a Ctrl-C is the user's
        logger.debug("the value of a flow run is not recorded, it cannot be pickled: %s", text_of(error))
        return None


def flow_payload(
    data: bytes | LaidOut, session: Session, encoding: str = PICKLE
) -> common_pb2.Payload | None:
    """Return a flow's value, as it was written, as a payload; None if it cannot be recorded."""
    _, size = pieces_of(data)
    if isinstance(data, LaidOut):
        encoding = BUFFERS
    elif size <= session.max_inline_bytes:
        return common_pb2.Payload(encoding=encoding, data=data)
    if size > session.max_payload_bytes:
        logger.debug("the value of a flow run is not recorded, it takes %d bytes", size)
        return None
    try:
        return common_pb2.Payload(encoding=encoding, blob=session.blobs.put(data))
    except (TaskyardError, TimeoutError, OSError) as error:
        logger.warning("the value of a flow run, %d bytes, could not be stored: %s", size, error)
        return None
