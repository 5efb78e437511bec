"""Tracking runs: the task run by which a flow run, that was called inside another one, appears in that one.

A subflow has one record, the flow run itself. Its tracking run is made of that record whenever somebody asks
for task runs: so it is always in the state of the subflow, takes no slot, costs nothing while runs are
executed, and cannot be left open. Its id is that of the flow run with another version of UUID in it, so each
of the two ids says the other one. Pure.
"""

from typing import TYPE_CHECKING, Final

from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Run

_VERSION: Final = 6
"""The byte of an id whose upper half is its version: runs that are recorded have 7."""
_OF_FLOW_RUN: Final = 0x70
_OF_TRACKING_RUN: Final = 0x80


def tracking_id(flow_run_id: bytes) -> bytes:
    """Return the id of the tracking run of a flow run."""
    return _with_version(flow_run_id, _OF_TRACKING_RUN)


def tracked_flow_run(run_id: bytes) -> bytes:
    """Return the id of the flow run that a tracking run is of; nothing for the id of no tracking run."""
    if len(run_id) != 16 or run_id[_VERSION] & 0xF0 != _OF_TRACKING_RUN:
        return b""
    return _with_version(run_id, _OF_FLOW_RUN)


def _with_version(run_id: bytes, version: int) -> bytes:
    return b"%b%c%b" % (run_id[:_VERSION], version | run_id[_VERSION] & 0x0F, run_id[_VERSION + 1 :])


def is_subflow(run: "Run") -> bool:
    """Say whether a run is a flow run that was called inside another one, so that it has a tracking run."""
    return int(run.kind) == RunKind.FLOW and bool(run.flow_run_id)


def as_tracking_run(run: "Run") -> "Run":
    """Make the record of a subflow that of its tracking run: the same message, changed."""
    run.kind = int(RunKind.TASK)  # type: ignore[assignment]  # numerically equal
    run.run_id = tracking_id(run.run_id)
    run.name = f"{run.task_name}-{run.ordinal}"
    return run


def parent_task_run(run: "Run") -> bytes:
    """Return the id of the task run that a flow run belongs to; nothing for none.

    Inside another flow run that is its tracking run, outside of flows the task run that called it.
    """
    if is_subflow(run):
        return tracking_id(run.run_id)
    return run.caller_run_id if run.caller_run_id != run.flow_run_id else b""
