"""A replica that owns nothing says who does, to every kind of call."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    agent_service_pb2,
    agent_service_pb2_grpc,
    blob_service_pb2,
    blob_service_pb2_grpc,
    common_pb2,
    document_service_pb2,
    document_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from taskyard_contract.errors import NotOwner, RunNotFound, TaskyardError
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.blobs.directory import DirectoryStore
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.server import RpcServer
from taskyard_controlplane.rpc.services import Services
from taskyard_controlplane.sealing.keys import KeyRing
from taskyard_controlplane.settings import PeerSettings, RpcSettings
from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.transfers.granting import Granting

ADDRESS = "owner.example:4700"


class Standby:
    """Stubs of a server whose directory knows no owner in its own process."""

    def __init__(self, channel: grpc.Channel) -> None:
        runs = run_service_pb2_grpc.RunServiceStub(channel)
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        agents = agent_service_pb2_grpc.AgentServiceStub(channel)
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        blobs = blob_service_pb2_grpc.BlobServiceStub(channel)
        documents = document_service_pb2_grpc.DocumentServiceStub(channel)
        agent_hello = agent_service_pb2.AgentFrame(hello=agent_service_pb2.AgentHello())
        client_hello = session_service_pb2.ClientFrame(hello=session_service_pb2.SessionHello())
        part = blob_service_pb2.UploadBlobRequest(blob=common_pb2.BlobRef(digest=bytes(32)))
        ids: dict[str, Any] = {"agent_id": "a", "session_id": b"s"}
        self.calls: dict[str, Callable[[], Any]] = {
            "Submit": lambda: runs.SubmitRuns(run_service_pb2.SubmitRunsRequest(), timeout=10),
            "Cancel": lambda: runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=bytes(16)), timeout=10),
            "Wait": lambda: runs.WaitRun(run_service_pb2.WaitRunRequest(run_id=bytes(16)), timeout=10),
            "Info": lambda: admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=10),
            "Agents": lambda: admin.ListAgents(admin_service_pb2.ListAgentsRequest(), timeout=10),
            "Poll": lambda: agents.Poll(agent_service_pb2.PollRequest(**ids, number=1), timeout=10),
            "Report": lambda: agents.ReportBatch(
                agent_service_pb2.ReportBatchRequest(**ids, report_number=1), timeout=10
            ),
            "Upload": lambda: blobs.UploadBlob(iter([part]), timeout=10),
            "Put": lambda: documents.PutDocument(
                document_service_pb2.PutDocumentRequest(kind="a", name="a"), timeout=10
            ),
            "Delete": lambda: documents.DeleteDocument(
                document_service_pb2.DeleteDocumentRequest(kind="a", name="a", version=1), timeout=10
            ),
            "agents' stream": lambda: next(agents.Connect(iter([agent_hello]), timeout=10)),
            "clients' stream": lambda: next(sessions.Connect(iter([client_hello]), timeout=10)),
        }
        self.get = lambda: runs.GetRun(run_service_pb2.GetRunRequest(run_id=bytes(16)), timeout=10)


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def standby(directory: Directory, tmp_path: Path, run_on_loop: Callable[..., Any]) -> Iterator[Standby]:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    store, reader = create_store(url), create_reader(url)
    store.open()
    with ThreadPoolExecutor(1) as threads:

        async def started() -> RpcServer:
            settings = RpcSettings(listen="127.0.0.1:0", stop_grace_seconds=0.2)
            server = RpcServer(settings)
            server.bind()
            Services(
                directory,
                reader,
                Background(threads),
                DirectoryStore(tmp_path / "blobs"),
                Background(threads),
                settings,
                PeerSettings(),
                Granting([]),
                KeyRing(),
                dialect="sqlite",
                started_us=1,
            ).add_to(server)
            await server.start()
            return server

        server = run_on_loop(started())
        with grpc.insecure_channel(server.address) as channel:
            yield Standby(channel)
        run_on_loop(server.stop())
    reader.close()
    store.close()


def error_of(call: Callable[[], Any]) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return from_rpc_error(caught.value)  # type: ignore[arg-type]  # what stubs raise is a call as well


def test_every_call_is_told_who_owns_the_runs(standby: Standby, directory: Directory) -> None:
    directory.note(ADDRESS)
    for name, call in standby.calls.items():
        error = error_of(call)
        assert isinstance(error, NotOwner), name
        assert error.address == ADDRESS, name


def test_while_nobody_owns_the_runs_callers_are_told_to_come_again(standby: Standby) -> None:
    for name, call in standby.calls.items():
        error = error_of(call)
        assert isinstance(error, NotOwner), name
        assert (error.address, error.retry_after > 0) == ("", True), name


def test_what_is_only_read_needs_no_owner(standby: Standby) -> None:
    assert isinstance(error_of(standby.get), RunNotFound)
