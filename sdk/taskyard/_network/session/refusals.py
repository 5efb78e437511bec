"""Runs that the control plane did not take: errors for those who wait for them, or another attempt later."""

from collections.abc import Iterable
from typing import NamedTuple

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import BY_REASON, Overloaded, RunExists, RunNotFound, TaskyardError
from taskyard_contract.ids import format_id


class Refusals(NamedTuple):
    """What a frame says about runs that were not taken."""

    errors: list[tuple[bytes, TaskyardError]]
    """Runs that were refused for good, and why."""
    overloaded: set[bytes]
    """Runs that an overloaded server would take after a while."""
    delay: float
    """Seconds until then."""
    unknown: set[bytes]
    """Runs, of those refused for good, that the server does not know: an answer to whoever asked for them. A
    new run whose flow run it does not know is something else."""


def read_refusals(refused: Iterable[pb.RefusedRun]) -> Refusals:
    """Tell apart what may be submitted again and what may not."""
    errors: list[tuple[bytes, TaskyardError]] = []
    overloaded: set[bytes] = set()
    unknown: set[bytes] = set()
    delay = 0.0
    for run in refused:
        error = error_of(run)
        if isinstance(error, Overloaded) and error.retry_after:
            overloaded.add(run.run_id)
            delay = max(delay, error.retry_after)
        else:
            errors.append((run.run_id, error))
            if isinstance(error, RunNotFound) and run.error.run_id == run.run_id:
                unknown.add(run.run_id)
    return Refusals(errors, overloaded, delay, unknown)


def error_of(refused: pb.RefusedRun) -> TaskyardError:
    """Return why a run was not accepted."""
    detail = refused.error
    kind = BY_REASON.get(detail.reason, TaskyardError)
    return kind(
        refused.message,
        run_id=refused.run_id,
        limit=detail.limit,
        retry_after=detail.retry_after_ms / 1000,
        address=detail.address,
    )


def already_submitted(run_id: bytes) -> RunExists:
    """Return the error of a run whose id another one has that has not ended."""
    return RunExists(
        f"run {format_id(run_id)} was submitted before; make a new id for every run", run_id=run_id
    )
