"""Writes the outcome of a run as the message that sessions, downstream runs and the database get.

Ordinary results (completed, inline, in the template's encoding) have no such message: they travel as bare
bytes, because they are nearly all there is.
"""

from typing import Final

from taskyard_api.v1 import agent_service_pb2, common_pb2, failure_pb2, session_service_pb2
from taskyard_contract.for_people import run_lines
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState
from taskyard_contract.wire_failures import bounded_failure
from taskyard_controlplane.domain.memory import Kept
from taskyard_controlplane.domain.model import BARE_ENCODING, Run
from taskyard_controlplane.owner.rules.labels import without_encoded

Hit = tuple[bytes, bytes | None, bytes | None, str]
"""A result from the cache: of which run; bare result, or outcome; and the encoding of a bare one."""

SAID: Final = session_service_pb2.RunOutcome(said=True).SerializeToString()
"""Appended to an outcome, it marks it: fields of a message may come in any order."""


def write_outcome(
    run: Run,
    *,
    state_name: str = "",
    result: common_pb2.Payload | None = None,
    failure: failure_pb2.Failure | None = None,
    cached_run_id: bytes = b"",
    said: bool = False,
) -> bytes:
    """Serialise the outcome of a run that has just ended; `said`: together with others, see `telling`."""
    completed = run.state == RunState.COMPLETED
    outcome = session_service_pb2.RunOutcome(
        run_id=run.run_id,
        state=run.state,  # type: ignore[arg-type]  # the enums are numerically equal
        reason=run.reason,  # type: ignore[arg-type]
        state_name=state_name,
        message=run.message,
        result=result,
        failure=bounded_failure(failure) if failure is not None else None,
        ended_us=run.ended_us,
        run_name=(run.name or "") if completed else run.shown_name,
        cached_run_id=cached_run_id,
        attempt=0 if completed else run.attempt,
        attempts=0 if completed else run.template.max_retries + 1,
        said=said,
    )
    return outcome.SerializeToString()


def outcome_of_report(run: Run, report: agent_service_pb2.ReportException, inline: bytes) -> bytes:
    """Serialise the outcome a worker reported, when it was not an ordinary one."""
    failure = report.failure if report.HasField("failure") else None
    if failure is not None and run.template.encoding != BARE_ENCODING:
        failure = without_encoded(failure)  # whoever writes no pickles has none to be read
    result = report.result if report.HasField("result") else None
    if result is None and inline:
        result = common_pb2.Payload(encoding=run.template.result_encoding, data=inline)
    elif result is not None and not result.encoding:
        result.encoding = run.template.result_encoding
    return write_outcome(
        run,
        state_name=report.state_name,
        result=result,
        failure=failure,
    )


def labelled(run: Run, result: bytes) -> bytes:
    """Serialise the outcome of a run that completed with a result which is not to be taken for a bare one."""
    return write_outcome(run, result=common_pb2.Payload(encoding=run.template.result_encoding, data=result))


def copy_outcome(run: Run, hit: Hit) -> bytes:
    """Serialise the outcome of a run that took its result from the cache."""
    source_id, bare, outcome, encoding = hit
    if outcome is None:
        result = common_pb2.Payload(encoding=encoding, data=bare or b"")
        return write_outcome(run, result=result, cached_run_id=source_id)
    source = session_service_pb2.RunOutcome.FromString(outcome)
    copied = source.result if source.HasField("result") else None
    return write_outcome(run, result=copied, cached_run_id=source_id)


def why_of(failure: failure_pb2.Failure, run: Run) -> str:
    """Say in a few words why an attempt of a run failed, which its record has the rest of."""
    return run_lines.why_failed(failure.type, failure.message, run.message, run.reason)


def upstream_message(upstream_id: bytes, outcome: Kept) -> str:
    """Say why a run never starts whose upstream run did not complete (semantics B7): that of the first one in
    a row of such runs.

    Args:
        upstream_id: The upstream run.
        outcome: How it ended, as far as it is in memory.
    """
    told = session_service_pb2.RunOutcome.FromString(outcome) if isinstance(outcome, bytes) else _NOTHING
    if int(told.state) == RunState.NOT_READY and told.message:
        return told.message
    failure, name = told.failure, told.run_name or format_id(upstream_id)
    why = run_lines.why_failed(failure.type, failure.message, told.message, int(told.reason))
    return run_lines.upstream_failed(name, int(told.state), why)


_NOTHING: Final = session_service_pb2.RunOutcome()


def never_message(upstream_id: bytes) -> str:
    """Say why a run never starts whose upstream run there is not, or cannot end before it."""
    upstream = format_id(upstream_id)
    return f"Upstream task run '{upstream}' was not submitted before, or waits for this one itself."


def too_large_inputs(size: int, limit: int) -> str:
    """Say why a run is not executed whose inputs are too large."""
    return (
        f"The results of its upstream runs have more than {limit:,} bytes together ({size:,} so far); "
        "combine them in a tree: some hundred in each run, and then their results"
    )
