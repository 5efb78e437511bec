"""Prune and GetStorage of a real server."""

from typing import Any

import grpc
import pytest
from support.polling_agent import report_of
from support.served_runs import complete, submit

from taskyard_api.v1 import admin_service_pb2 as pb
from taskyard_api.v1 import agent_service_pb2, common_pb2, run_service_pb2, states_pb2
from taskyard_contract.blobs.names import result_name
from taskyard_contract.errors import InvalidRequest, RunNotFound
from taskyard_contract.states import ReportKind
from taskyard_contract.transport.rpc_errors import from_rpc_error


def prune(served: Any, **fields: Any) -> pb.PruneResponse:
    answers = list(served.admin.Prune(pb.PruneRequest(**fields), timeout=20))
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    return answers[-1]


def is_there(served: Any, run_id: bytes) -> bool:
    wanted = run_service_pb2.RunFilter(run_ids=[run_id])
    return bool(served.runs.ListRuns(run_service_pb2.ListRunsRequest(filter=wanted), timeout=10).runs)


def test_what_is_due_goes_and_nothing_else(served: Any, agent: Any) -> None:
    ids = complete(served, agent, 3)
    assert prune(served).runs == 0, "they are a moment old"
    assert prune(served, older_than_ms=0, dry_run=True).runs == 3
    assert all(is_there(served, run_id) for run_id in ids)
    assert prune(served, older_than_ms=60_000).runs == 0
    assert prune(served, older_than_ms=0, states=[states_pb2.RUN_STATE_FAILED]).runs == 0
    assert prune(served, older_than_ms=0).runs == 3
    assert not any(is_there(served, run_id) for run_id in ids)
    with pytest.raises(grpc.RpcError) as caught:
        served.get(ids[0])
    assert isinstance(from_rpc_error(caught.value), RunNotFound)


def test_a_state_in_which_no_run_ends_is_refused(served: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        prune(served, states=[states_pb2.RUN_STATE_RUNNING])
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidRequest)
    assert error.field == "states"


def test_what_takes_the_room_is_told(served: Any, agent: Any) -> None:
    complete(served, agent, 1)
    found = served.admin.GetStorage(pb.GetStorageRequest(), timeout=10)
    assert found.database_bytes > 0
    assert found.keep_runs_ms == 30 * 86_400_000
    assert found.keep_logs_ms == 14 * 86_400_000
    assert found.blob_store
    assert found.blob_store_free_bytes > 0
    assert list(found.blobs) == []


def test_blobs_are_told_by_what_needs_them(served: Any, agent: Any) -> None:
    [run_id] = submit(served, 1)
    [(epoch, _)] = agent.take(1)
    blob = common_pb2.BlobRef(name=result_name(run_id, epoch), size=1_000_000)
    result = common_pb2.Payload(encoding="json/plain", blob=blob)
    columns = agent_service_pb2.ReportColumns(base_us=5, started_us=[0], durations_us=[1], results=[b""])
    columns.exceptions.add(position=0, kind=ReportKind.SUCCEEDED.value, result=result)
    agent._number = 1
    agent.send(agent_service_pb2.AgentFrame(report_number=1, reports=[report_of(epoch, run_id, columns)]))
    agent.wait_reported()
    found = served.admin.GetStorage(pb.GetStorageRequest(), timeout=10)
    assert list(found.blobs) == [pb.BlobUsage(use=pb.BLOB_USE_RESULTS, blobs=1, size=1_000_000)]
