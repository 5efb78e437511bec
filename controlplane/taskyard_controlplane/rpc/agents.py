"""The agents' stream and their unary calls: moves messages between gRPC and the owner, decides nothing."""

import asyncio
from typing import Any, Final

import grpc.aio

from taskyard_api.v1 import agent_service_pb2, agent_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest, StorageUnavailable
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.frame_limits import FEW_BYTES, check_agent_frame, check_agent_hello
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.owner.serving.connections import Connections
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.polling import longest_wait
from taskyard_controlplane.rpc.streams import Outgoing, Places, Received, first_frame
from taskyard_controlplane.settings import PeerSettings

Frame = agent_service_pb2.AgentFrame
Context = grpc.aio.ServicerContext[Frame, agent_service_pb2.ServerFrame]

RETRY_SECONDS: Final = 1.0
"""When to repeat reports that the database did not take: sooner it would hardly answer again."""


class AgentService(agent_service_pb2_grpc.AgentServiceServicer):
    """Serves agents with a stream, and those that poll."""

    def __init__(self, directory: Directory, settings: PeerSettings, places: Places) -> None:
        """Connect agents to the owner, each of their streams in one of `places`."""
        self._directory = directory
        self._settings = settings
        self._places = places

    async def Connect(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        peer = context.peer()
        with self._places.take(peer):
            first = await first_frame(context, "hello", "an agent", self._settings.first_frame_seconds)
            check_agent_hello(first.frame.hello)
            connections = self._directory.owner().connections
            agents = connections.agents
            outgoing = Outgoing(context)
            agent, welcome = agents.open(first.frame.hello, Caller(peer), outgoing.wake, outgoing.close)
            reading = _read(outgoing, connections, agent, first)
            del first  # or it would be kept as long as the stream
            await outgoing.serve(
                reading,
                lambda: agents.disconnected(agent, outgoing.wake),
                agent_service_pb2.ServerFrame(welcome=welcome),
                agent.next_frame,
                agent.written,
            )

    async def Poll(
        self, request: agent_service_pb2.PollRequest, context: Any
    ) -> agent_service_pb2.PollResponse:
        check_agent_hello(request.hello)
        polled = self._directory.owner().connections.polled
        asked = min(request.wait_ms / 1000, polled.most_wait)
        seconds = longest_wait(asked, polled.lease, context.time_remaining())
        return await polled.poll(request, seconds, Caller(context.peer()))

    async def ReportBatch(
        self, request: agent_service_pb2.ReportBatchRequest, context: Any
    ) -> agent_service_pb2.ReportBatchResponse:
        check_agent_frame(request)
        polled = self._directory.owner().connections.polled
        lease = polled.lease
        try:
            async with asyncio.timeout(longest_wait(lease, lease, context.time_remaining())):
                return await polled.report(request)
        except TimeoutError:
            text = "the reports are not durable yet, because the database does not answer; repeat the batch"
            raise StorageUnavailable(text, retry_after=RETRY_SECONDS) from None


async def _read(
    outgoing: Outgoing, connections: Connections, agent: AgentSession, received: Received | None
) -> None:
    agents, intake = connections.agents, connections.agent_intake
    while received is not None:
        frame, size = received
        if size > FEW_BYTES:
            check_agent_frame(frame)
        agents.receive(agent, frame)
        logs = frame.HasField("logs")
        frame = received = None  # or it would be kept until there is another
        await intake.took(agent, size, logs=logs)
        received = await outgoing.read()
        if received is not None and received.frame.HasField("hello"):
            raise InvalidRequest("an agent said hello twice on one stream")
