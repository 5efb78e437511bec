"""Whatever becomes of a call, callers get an answer or an error of Taskyard's own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.fake_services import FakeServices, make_run, run_id, serving

from taskyard._network.server.calls import Client
from taskyard.exceptions import ConnectionFailed
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import ServerStopping
from taskyard_contract.transport.rpc_errors import to_status


@dataclass
class Waiting(FakeServices):
    """Services that answer when they are allowed to."""

    asked_for: threading.Event = field(default_factory=threading.Event)
    allowed: threading.Event = field(default_factory=threading.Event)

    def WaitRun(self, request: pb.WaitRunRequest, context: Any) -> pb.WaitRunResponse:  # noqa: N802
        self.asked_for.set()
        self.allowed.wait(10)
        return super().WaitRun(request, context)


def test_a_call_whose_connection_is_closed_meanwhile_is_an_error() -> None:
    services = Waiting([make_run(1)])
    with serving(services) as address, ThreadPoolExecutor(1) as thread:
        client = Client(address)
        answer = thread.submit(client.wait_run, run_id(1), 10)
        assert services.asked_for.wait(10)
        client.close()
        with pytest.raises(ConnectionFailed, match="was closed while an answer was waited for"):
            answer.result(10)
        services.allowed.set()


@dataclass
class Restarting(FakeServices):
    """Services that are going down when they are called first."""

    calls: int = 0

    def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:  # noqa: N802
        self.calls += 1
        if self.calls == 1:
            context.abort_with_status(to_status(ServerStopping("the server is going down")))
        return super().GetRun(request, context)


def test_only_patient_calls_are_repeated() -> None:
    with serving(Restarting([make_run(1)])) as address, Client(address, patient=True) as client:
        assert client.get_run(run_id(1)).name == "add-1"
    with (
        serving(Restarting([make_run(1)])) as address,
        Client(address) as client,
        pytest.raises(ServerStopping),
    ):
        client.get_run(run_id(1))
