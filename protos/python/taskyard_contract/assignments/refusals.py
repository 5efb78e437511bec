"""Failures that whoever executes runs reports without having called them."""

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import failure_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.failures import SOURCE, failure_of
from taskyard_contract.states import StateReason
from taskyard_contract.wire_text import cut


def unavailable(message: str, error: BaseException | None = None, encoding: str = "") -> pb.ReportException:
    """Report code or arguments that could not be loaded.

    Args:
        message: What, and why.
        error: The exception, which is one of Taskyard's own where a value was lost.
        encoding: Of the run's arguments: only who reads pickles gets that as an object.
    """
    report = reported(StateReason.CODE_UNAVAILABLE, message, "RuntimeError")
    report.not_retriable = True
    if error is not None:
        report.failure.CopyFrom(
            failure_of(error, encoding=encoding if isinstance(error, TaskyardError) else "")
        )
    return report


def reported(reason: StateReason, message: str, kind: str) -> pb.ReportException:
    """Report a failure in words; `kind` stands for the class of an exception."""
    message = cut(message)
    return pb.ReportException(
        kind=pb.REPORT_KIND_FAILED,
        reason=reason.value,  # type: ignore[arg-type]  # the enums are numerically equal
        message=message,
        failure=failure_pb2.Failure(type=kind, message=message, source=SOURCE),
    )
