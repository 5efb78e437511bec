"""An agent that polls, call by call, against a served control plane."""

from typing import Any

import grpc

from taskyard_api.v1 import admin_service_pb2, run_service_pb2
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.settings import LeaseSettings

LONG_MS = 8_000
SHORT_LEASE = LeaseSettings(agent_lease_seconds=1.5)


class Poller:
    """An agent that does what the test says, call by call."""

    def __init__(self, served: Any, name: str = "poller", session_id: bytes = b"") -> None:
        self.served = served
        self.ids: dict[str, Any] = {"agent_id": f"id-{name}", "session_id": session_id or new_id()}

    def hello(self, **fields: Any) -> pb.AgentHello:
        usual = {"protocol_min": 2, "protocol_max": 2, "queues": ["default"], "name": "poller"}
        return pb.AgentHello(**{**usual, **self.ids, **fields})

    def begin(self, number: int, *, timeout: float = 10, **fields: Any) -> Any:
        """Start a poll; ask for one run unless the test says otherwise."""
        request = pb.PollRequest(**{**self.ids, "number": number, "max_runs": 1, "chunk_size": 1, **fields})
        return self.served.agents.Poll.future(request, timeout=timeout)

    def poll(self, number: int, **fields: Any) -> pb.PollResponse:
        return answer(self.begin(number, **fields))

    def greet(self, number: int = 1, **fields: Any) -> pb.PollResponse:
        return self.poll(number, hello=self.hello(**fields))

    def take(self, number: int, **fields: Any) -> tuple[int, bytes]:
        """Poll until there is a run, and return its epoch and id."""
        [chunk] = self.poll(number, wait_ms=LONG_MS, **fields).chunks
        return chunk.first_epoch, chunk.run_ids

    def report(self, number: int, *reports: pb.ReportChunk, timeout: float = 10, **fields: Any) -> int:
        """Report a batch; returns what was acknowledged."""
        ids = {**self.ids, "report_number": number, "reports": reports}
        request = pb.ReportBatchRequest(**{**ids, **fields})
        return answer(self.served.agents.ReportBatch.future(request, timeout=timeout)).reported_up_to

    def until_waiting(self) -> None:
        """Return when the calls made so far have arrived: the server answers in order of arrival."""
        self.served.admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=10)


def answer(call: Any) -> Any:
    try:
        return call.result()
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None  # type: ignore[arg-type]  # what stubs raise is a call as well


def agents_of(served: Any) -> list[Any]:
    return list(served.admin.ListAgents(admin_service_pb2.ListAgentsRequest(), timeout=10).agents)


def ended(served: Any, run_id: bytes) -> run_service_pb2.Run:
    request = run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=LONG_MS)
    run: run_service_pb2.Run = served.runs.WaitRun(request, timeout=10).run
    assert run.state >= RunState.COMPLETED
    return run
