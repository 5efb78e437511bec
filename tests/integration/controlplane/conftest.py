"""A real control plane on a free port, and an agent as small as the protocol allows."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from support.poller import Poller

from taskyard_api.v1 import (
    admin_service_pb2_grpc,
    agent_service_pb2,
    agent_service_pb2_grpc,
    blob_service_pb2_grpc,
    cache_service_pb2_grpc,
    common_pb2,
    document_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    states_pb2,
    template_pb2,
)
from taskyard_contract.id_factory import new_id
from taskyard_contract.transport.channels import CLIENT_OPTIONS
from taskyard_controlplane.app import ControlPlane
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.settings import (
    DatabaseSettings,
    LeaseSettings,
    PeerSettings,
    RpcSettings,
    Settings,
)

T = TypeVar("T")


class Served:
    """A running control plane and stubs for it."""

    def __init__(self, plane: ControlPlane, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.plane = plane
        self._run = run
        self.channel = grpc.insecure_channel(plane.address, options=CLIENT_OPTIONS)
        self.runs = run_service_pb2_grpc.RunServiceStub(self.channel)
        self.blobs = blob_service_pb2_grpc.BlobServiceStub(self.channel)
        self.cache = cache_service_pb2_grpc.CacheServiceStub(self.channel)
        self.documents = document_service_pb2_grpc.DocumentServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)
        self.agents = agent_service_pb2_grpc.AgentServiceStub(self.channel)
        self.sessions = session_service_pb2_grpc.SessionServiceStub(self.channel)

    def submit(
        self,
        count: int = 1,
        *,
        name: str = "add",
        data: bytes = b"x",
        upstream: Sequence[bytes] = (),
        **fields: Any,
    ) -> list[bytes]:
        """Submit runs of one task, which get the results of others, and return their ids."""
        fields.setdefault("code", template_pb2.Code(task_name=name))
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK,
            name=name,
            task_key=f"key-{name}",
            queue="default",
            encoding="json/plain",
            **fields,
        )
        payload = common_pb2.Payload(encoding="json/plain", data=data)
        edges = [
            run_service_pb2.Upstream(run_id=each, kind=session_service_pb2.UPSTREAM_KIND_DATA)
            for each in upstream
        ]
        runs = [
            run_service_pb2.NewRun(run_id=new_id(), template=template, args=payload, upstream=edges)
            for _ in range(count)
        ]
        response = self.runs.SubmitRuns(run_service_pb2.SubmitRunsRequest(runs=runs), timeout=10)
        assert not response.refused
        return [run.run_id for run in runs]

    def agent(self, name: str, labels: dict[str, str]) -> "SmallAgent":
        """Connect one more agent."""
        return SmallAgent(self, name, labels)

    def session(self, *frames: session_service_pb2.ClientFrame) -> Iterator[session_service_pb2.SessionFrame]:
        """Open a session, send frames, and return what comes; the stream stays open meanwhile."""
        outgoing: queue.Queue[session_service_pb2.ClientFrame | None] = queue.Queue()
        hello = session_service_pb2.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id())
        for frame in (session_service_pb2.ClientFrame(hello=hello), *frames):
            outgoing.put(frame)
        yield from self.sessions.Connect(iter(outgoing.get, None), timeout=20)

    def get(self, run_id: bytes, **fields: Any) -> run_service_pb2.Run:
        request = run_service_pb2.GetRunRequest(run_id=run_id, **fields)
        return self.runs.GetRun(request, timeout=10).run

    def stop(self) -> None:
        self.channel.close()
        self._run(self.plane.stop())


class SmallAgent:
    """One stream; takes runs and reports what the test says."""

    def __init__(self, served: Served, name: str = "small", labels: dict[str, str] | None = None) -> None:
        self._outgoing: queue.Queue[agent_service_pb2.AgentFrame | None] = queue.Queue()
        self._number = self._granted = 0
        self.chunks: list[agent_service_pb2.AssignChunk] = []
        hello = agent_service_pb2.AgentHello(
            protocol_min=2, protocol_max=2, agent_id=f"id-{name}", session_id=new_id(), name=name,
            queues=["default"], slots=2, labels=labels or {"zone": "a"}, agent_version="1.2.3",
        )  # fmt: skip
        self.send(agent_service_pb2.AgentFrame(hello=hello))
        self.frames = served.agents.Connect(iter(self._outgoing.get, None), timeout=30)
        assert next(self.frames).HasField("welcome")

    def send(self, frame: agent_service_pb2.AgentFrame) -> None:
        self._outgoing.put(frame)

    def take(self, count: int) -> list[tuple[int, bytes]]:
        """Ask for runs and return (epoch, run id) of each."""
        self._granted += count
        credit = agent_service_pb2.Credit(granted_total=self._granted, chunk_size=count)
        self.send(agent_service_pb2.AgentFrame(credit=credit))
        taken: list[tuple[int, bytes]] = []
        while len(taken) < count:
            for chunk in next(self.frames).chunks:
                self.chunks.append(chunk)
                ids = [chunk.run_ids[at : at + 16] for at in range(0, len(chunk.run_ids), 16)]
                taken += [(chunk.first_epoch + place, run_id) for place, run_id in enumerate(ids)]
        return taken

    def started(self, epoch: int, run_id: bytes) -> None:
        key = agent_service_pb2.RunKey(run_id=run_id, epoch=epoch)
        self.send(agent_service_pb2.AgentFrame(started=[agent_service_pb2.StartedRun(key=key)]))

    def report(
        self, epoch: int, run_id: bytes, result: bytes, started_us: int = 5_000_000, **problem: Any
    ) -> None:
        """Report one run, completed or with a problem."""
        columns = agent_service_pb2.ReportColumns(
            base_us=started_us, started_us=[0], durations_us=[10], results=[result]
        )
        if problem:
            columns.exceptions.add(position=0, **problem)
        self._number += 1
        chunk = agent_service_pb2.ReportChunk(
            first_epoch=epoch, run_ids=run_id, columns=columns.SerializeToString()
        )
        self.send(agent_service_pb2.AgentFrame(report_number=self._number, reports=[chunk]))

    def log(self, logs: session_service_pb2.LogBatch) -> None:
        """Send log records, as part of a report of their own."""
        self._number += 1
        self.send(agent_service_pb2.AgentFrame(report_number=self._number, logs=logs))

    def wait_reported(self) -> None:
        """Return when everything that was reported is durable."""
        while next(self.frames).reported_up_to < self._number:
            pass

    def close(self) -> None:
        self._outgoing.put(None)
        self.frames.cancel()


@pytest.fixture(scope="session")
def run_on_loop() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Run a coroutine on the one loop all servers of this process live on."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server-loop", daemon=True)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def _started(settings: Settings) -> ControlPlane:
    plane = ControlPlane(settings)
    await plane.start()
    return plane


@pytest.fixture
def serve(tmp_path: Path, run_on_loop: Callable[..., Any]) -> Iterator[Callable[..., Served]]:
    """Start control planes; they are stopped after the test."""
    running: list[Served] = []

    def start(
        lease: LeaseSettings | None = None,
        peers: PeerSettings | None = None,
        memory: MemoryLimits = DEFAULT_MEMORY,
        database: str = "",
        blobs: str = "",
        more: Mapping[str, Any] | None = None,
        **rpc: Any,
    ) -> Served:
        settings = Settings(
            lease=lease or LeaseSettings(),
            peers=peers or PeerSettings(),
            memory=memory,
            blobs=blobs or (str(tmp_path / "blobs") if database.startswith("postgres") else ""),
            database=DatabaseSettings(database or f"sqlite:///{tmp_path / 'runs.db'}"),
            rpc=RpcSettings(**{"listen": "127.0.0.1:0", "stop_grace_seconds": 0.2, **rpc}),
            **(more or {}),
        )
        running.append(Served(run_on_loop(_started(settings)), run_on_loop))
        return running[-1]

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """One control plane."""
    return serve()


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(request: pytest.FixtureRequest) -> Iterator[Served]:
    """One control plane on each kind of database."""
    with ExitStack() as stack:
        url = ""
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres").database())
        served = request.getfixturevalue("serve")(database=url)
        yield served
        served.stop()


@pytest.fixture
def connect_agent() -> Iterator[Callable[[Served], SmallAgent]]:
    """Connect agents to control planes; their streams end after the test."""
    connected: list[SmallAgent] = []

    def connect(served: Served) -> SmallAgent:
        connected.append(SmallAgent(served))
        return connected[-1]

    yield connect
    for agent in connected:
        agent.close()


@pytest.fixture
def agent(served: Served) -> Iterator[SmallAgent]:
    """An agent connected to it."""
    connected = SmallAgent(served)
    yield connected
    connected.close()


@pytest.fixture
def poller(served: Any) -> Poller:
    """An agent that has said hello as its first poll."""
    connected = Poller(served)
    assert connected.greet().welcome.lease_ms == 30_000
    return connected
