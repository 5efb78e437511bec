"""Runs that were not accepted, as their submitters are told."""

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.transport.rpc_errors import code_number, to_detail


def refused_run(run_id: bytes, error: TaskyardError) -> pb.RefusedRun:
    """Say why a run was not accepted, as fully as a call says that is refused as a whole."""
    return pb.RefusedRun(run_id=run_id, error=to_detail(error), message=str(error), code=code_number(error))
