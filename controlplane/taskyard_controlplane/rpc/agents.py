"""The agents' stream: moves frames between gRPC and the owner, decides nothing."""

import asyncio
from typing import Any

import grpc.aio

from taskyard_api.v1 import agent_service_pb2, agent_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.owner.serving.agents import Agents
from taskyard_controlplane.rpc.polling import Polling
from taskyard_controlplane.rpc.streams import Outgoing, first_frame

Context = grpc.aio.ServicerContext[agent_service_pb2.AgentFrame, agent_service_pb2.ServerFrame]


class AgentService(agent_service_pb2_grpc.AgentServiceServicer):
    """Serves `AgentService.Connect`, and has `polling` serve those without a stream."""

    def __init__(self, agents: Agents) -> None:
        """Connect agents to the shard behind `agents`."""
        self._agents = agents
        self._polling = Polling(agents)

    async def Connect(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        """Serve one agent until its stream ends."""
        frame = await first_frame(context, "hello", "an agent")
        outgoing = Outgoing(context)
        agent, welcome = self._agents.open(frame.hello, Caller(context.peer()), outgoing.wake, outgoing.close)
        try:
            await context.write(agent_service_pb2.ServerFrame(welcome=welcome))
            outgoing.start(agent.next_frame)
            self._agents.receive(agent, frame)
            while (frame := await outgoing.read()) is not None:
                if frame.HasField("hello"):
                    raise InvalidRequest("an agent said hello twice on one stream")
                self._agents.receive(agent, frame)
        except asyncio.CancelledError:
            outgoing.raise_if_closed()
            raise
        finally:
            self._agents.disconnected(agent, outgoing.wake)
            await outgoing.stop()

    async def Poll(
        self, request: agent_service_pb2.PollRequest, context: Any
    ) -> agent_service_pb2.PollResponse:
        """Answer a poll."""
        return await self._polling.poll(request, context.time_remaining(), Caller(context.peer()))

    async def ReportBatch(
        self, request: agent_service_pb2.ReportBatchRequest, context: Any
    ) -> agent_service_pb2.ReportBatchResponse:
        """Take reports."""
        return await self._polling.report(request, context.time_remaining())
