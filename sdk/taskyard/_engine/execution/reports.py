"""The reports a worker makes about anything but a completed run with an ordinary value.

Invariant: making one never fails: what cannot be pickled becomes a failure that says so.
"""

from typing import Any

from taskyard._data.runs.state import State
from taskyard._data.values.failures import interruption_of, message_of
from taskyard.exceptions import NotPicklable
from taskyard_api.v1 import agent_service_pb2, common_pb2, failure_pb2
from taskyard_contract.encodings import PICKLE, encode
from taskyard_contract.failures import FOREIGN, failure_of, text_of
from taskyard_contract.states import ReportKind, StateReason
from taskyard_contract.wire_text import NAME_LIMIT, cut

Report = agent_service_pb2.ReportException


def encoded(value: Any) -> bytes | Report:
    """Encode an ordinary value; one that cannot travel makes the run fail."""
    try:
        return encode(value)
    except FOREIGN as error:
        return _refused(value, error)


def succeeded(value: Any, run_name: str) -> Report:
    """Report a value of a run whose name was rendered by its worker."""
    data = encoded(value)
    if isinstance(data, Report):
        data.run_name = run_name
        return data
    return _report(ReportKind.SUCCEEDED, run_name, result=common_pb2.Payload(encoding=PICKLE, data=data))


def failed(error: Exception, run_name: str = "") -> Report:
    """Report an exception of user code, which counts against the run's retries."""
    return _report(ReportKind.FAILED, run_name, message=message_of(error), failure=failure_of(error))


def interrupted(error: BaseException, run_name: str = "") -> Report:
    """Report that a signal, or an exit call, ended the attempt."""
    return _report(
        ReportKind.INTERRUPTED,
        run_name,
        reason=StateReason.INTERRUPTED,
        message=interruption_of(error),
        failure=failure_of(error),
    )


def unavailable(error: Exception, message: str) -> Report:
    """Report that the code, or the arguments, could not be loaded."""
    return _report(
        ReportKind.FAILED,
        "",
        reason=StateReason.CODE_UNAVAILABLE,
        message=f"{message}: {text_of(error)}; is everything installed that they refer to?",
        failure=failure_of(error),
        not_retriable=True,
    )


def cache_key(key: str, run_name: str = "") -> Report:
    """Report a cache key, for the control plane to decide by."""
    return _report(ReportKind.CACHE_KEY, run_name, cache_key=key)


def state_by_hand(state: State[Any], run_name: str = "") -> Report:
    """Report a state that user code returned."""
    report = _report(
        _kind_of(state),
        run_name,
        reason=StateReason.STATE_BY_HAND,
        state_name=cut(state.name, NAME_LIMIT),
        message=cut(state.message or ""),
    )
    if state.is_completed():
        return _with_value(report, state)
    data = state.data
    if isinstance(data, BaseException):
        report.failure.CopyFrom(failure_of(data))
    elif not state.is_cancelled():
        report.failure.CopyFrom(failure_pb2.Failure(type="", message=report.message))
    return report


def _kind_of(state: State[Any]) -> ReportKind:
    if state.is_completed():
        return ReportKind.SUCCEEDED
    return ReportKind.CANCELLED if state.is_cancelled() else ReportKind.FAILED


def _with_value(report: Report, state: State[Any]) -> Report:
    if not state.has_data:
        return report
    data = encoded(state.data)
    if isinstance(data, Report):
        return data
    report.result.CopyFrom(common_pb2.Payload(encoding=PICKLE, data=data))
    return report


def _refused(value: Any, error: BaseException) -> Report:
    kind = type(value).__qualname__
    why = NotPicklable(
        f"the task returned a value of type {kind} that cannot be pickled ({text_of(error)}); return another"
    )
    return _report(
        ReportKind.FAILED,
        "",
        reason=StateReason.RESULT_REFUSED,
        message=str(why),
        failure=failure_of(why),
        not_retriable=True,
    )


def _report(kind: ReportKind, run_name: str, **fields: Any) -> Report:
    return Report(kind=kind, run_name=run_name, **fields)  # type: ignore[arg-type]  # equal enums
