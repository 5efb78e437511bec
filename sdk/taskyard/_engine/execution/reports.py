"""The reports a worker makes about anything but a completed run with an ordinary value.

Invariant: making one never fails: what cannot be pickled becomes a failure that says so.
"""

from typing import Any, Final, NamedTuple

from taskyard._data.runs.state import State
from taskyard._data.values.culprits import culprit_in
from taskyard._data.values.failures import exception_of, interruption_of, message_of
from taskyard.exceptions import NotPicklable, NotSerializable, PayloadTooLarge, TaskyardError
from taskyard_api.v1 import agent_service_pb2, failure_pb2, template_pb2
from taskyard_contract import pickling
from taskyard_contract.encodings import PICKLE, encode_as, has_type, payload_of, refusal_of
from taskyard_contract.execution import result_encoding_of
from taskyard_contract.failures import FOREIGN, failure_of, text_of
from taskyard_contract.payload_limits import too_large_result
from taskyard_contract.pickling import dumps_apart, dumps_for_later
from taskyard_contract.states import ReportKind, StateReason, StateType
from taskyard_contract.values.layout import LaidOut
from taskyard_contract.wire_text import NAME_LIMIT, cut

Report = agent_service_pb2.ReportException


class Wire(NamedTuple):
    """How what a run has to say is written."""

    results: str = PICKLE
    """The encoding of its result."""
    arguments: str = PICKLE
    """That of its arguments. Only where these are pickles, exceptions come along as such."""


PICKLES: Final = Wire()


def wire_of(template: template_pb2.RunTemplate) -> Wire:
    """Return how a template's runs report."""
    wire = Wire(result_encoding_of(template) or PICKLE, template.encoding or PICKLE)
    return PICKLES if wire == PICKLES else wire


def encoded(value: Any, wire: Wire = PICKLES, for_later: bool = False) -> bytes | LaidOut | Report:
    """Encode an ordinary value; one that cannot travel makes the run fail.

    Args:
        value: The value.
        wire: How the run reports.
        for_later: Whether programs read it that have nothing of this one.
    """
    try:
        if wire is PICKLES:
            return dumps_for_later(value) if for_later else dumps_apart(value)
        if has_type(wire.results):
            return _report(ReportKind.SUCCEEDED, "", result=payload_of(value, wire.results))
        return encode_as(value, wire.results)
    except FOREIGN as error:
        return _refused(value, error, wire)


def succeeded(value: Any, run_name: str, wire: Wire = PICKLES) -> Report:
    """Report a value of a run whose name was rendered by its worker."""
    return _with_value(_report(ReportKind.SUCCEEDED, run_name), value, wire)


def from_storage(found: Any, run_name: str, wire: Wire) -> Report:
    """Report that a record of an equal run stands for this one."""
    value = found if wire.results == PICKLE else found.value()
    report = succeeded(value, run_name, wire)
    report.reason = StateReason.CACHED  # type: ignore[assignment]  # equal enums
    return report


def refused_value(error: NotPicklable | NotSerializable, wire: Wire) -> Report:
    """Report a value that cannot be written as it is to be: no other attempt would do better."""
    return _report(
        ReportKind.FAILED,
        "",
        reason=StateReason.RESULT_REFUSED,
        message=str(error),
        failure=failure_of(error, encoding=wire.arguments),
        not_retriable=True,
    )


def failed(error: Exception, run_name: str = "", wire: Wire = PICKLES) -> Report:
    """Report an exception of user code, which counts against the run's retries."""
    failure = failure_of(error, encoding=wire.arguments)
    return _report(ReportKind.FAILED, run_name, message=message_of(error), failure=failure)


def unfit(error: Exception, wire: Wire = PICKLES) -> Report:
    """Report arguments that do not fit the task: no other attempt would do better."""
    report = failed(error, wire=wire)
    report.not_retriable = True
    return report


def too_large(size: int, limit: int, run_name: str = "", wire: Wire = PICKLES) -> Report:
    """Report a result that no server takes."""
    error = PayloadTooLarge(too_large_result(size, limit), limit=limit)
    return _report(
        ReportKind.FAILED,
        run_name,
        reason=StateReason.RESULT_REFUSED,
        message=str(error),
        failure=failure_of(error, encoding=wire.arguments),
    )


def is_failure(report: object) -> bool:
    """Whether something is a report of a failure, and no value."""
    return isinstance(report, Report) and int(report.kind) == ReportKind.FAILED


def state_of(report: Report) -> State[Any]:
    """Return the state that hooks are shown for a report of a failure."""
    error = exception_of(report.failure, lambda payload: pickling.loads(payload.data))
    return State(StateType.FAILED, message=report.message, data=error)


def interrupted(error: BaseException, run_name: str = "", wire: Wire = PICKLES) -> Report:
    """Report that a signal, or an exit call, ended the attempt."""
    return _report(
        ReportKind.INTERRUPTED,
        run_name,
        reason=StateReason.INTERRUPTED,
        message=interruption_of(error),
        failure=failure_of(error, encoding=wire.arguments),
    )


def unavailable(error: Exception, message: str, wire: Wire = PICKLES) -> Report:
    """Report that the code, or the arguments, could not be loaded."""
    # What is Taskyard's own says by itself what to do: a value was lost, or is damaged.
    hint = "" if isinstance(error, TaskyardError) else "; is everything installed that they refer to?"
    return _report(
        ReportKind.FAILED,
        "",
        reason=StateReason.CODE_UNAVAILABLE,
        message=f"{message}: {text_of(error)}{hint}",
        failure=failure_of(error, encoding=wire.arguments),
        not_retriable=True,
    )


def cache_key(key: str, run_name: str = "") -> Report:
    """Report a cache key, for the control plane to decide by."""
    return _report(ReportKind.CACHE_KEY, run_name, cache_key=key)


def state_by_hand(state: State[Any], run_name: str = "", wire: Wire = PICKLES) -> Report:
    """Report a state that user code returned."""
    report = _report(
        _kind_of(state),
        run_name,
        reason=StateReason.STATE_BY_HAND,
        state_name=cut(state.name, NAME_LIMIT),
        message=cut(state.message or ""),
    )
    if state.is_completed():
        return _with_value(report, state.data, wire) if state.has_data else report
    data = state.data
    if isinstance(data, BaseException):
        report.failure.CopyFrom(failure_of(data, encoding=wire.arguments))
    elif not state.is_cancelled():
        report.failure.CopyFrom(failure_pb2.Failure(type="", message=report.message))
    return report


def _kind_of(state: State[Any]) -> ReportKind:
    if state.is_completed():
        return ReportKind.SUCCEEDED
    return ReportKind.CANCELLED if state.is_cancelled() else ReportKind.FAILED


def _with_value(report: Report, value: Any, wire: Wire) -> Report:
    try:
        report.result.CopyFrom(payload_of(value, wire.results))
    except FOREIGN as error:
        refused = _refused(value, error, wire)
        refused.run_name = report.run_name
        return refused
    return report


def _refused(value: Any, error: BaseException, wire: Wire) -> Report:
    return refused_value(_refusal(value, error, wire.results), wire)


def _refusal(value: Any, error: BaseException, encoding: str) -> NotPicklable | NotSerializable:
    if encoding != PICKLE:
        return NotSerializable(refusal_of(value, encoding, error))
    where, culprit = _culprit(value)
    which = f": {where} is of type {type(culprit).__qualname__}" if culprit is not value else ""
    return NotPicklable(
        f"the task returned a value of type {type(value).__qualname__} that cannot be pickled{which} "
        f"({text_of(error)}); return what can be pickled, or use ThreadPoolTaskRunner, which keeps values in "
        "the process"
    )


def _culprit(value: Any) -> tuple[str, object]:
    try:
        return culprit_in("result", value) or ("result", value)
    except FOREIGN:  # it looks into everything, and executes what answers
        return "result", value


def _report(kind: ReportKind, run_name: str, **fields: Any) -> Report:
    return Report(kind=kind, run_name=run_name, **fields)  # type: ignore[arg-type]  # equal enums
