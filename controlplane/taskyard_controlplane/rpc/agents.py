"""The agents' stream and their unary calls: moves messages between gRPC and the owner, decides nothing."""

import asyncio
from typing import Any, Final

import grpc.aio

from taskyard_api.v1 import agent_service_pb2, agent_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest, StorageUnavailable
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.owner.serving.agents import Agents
from taskyard_controlplane.owner.serving.polled_agents import PolledAgents
from taskyard_controlplane.rpc.polling import longest_wait
from taskyard_controlplane.rpc.streams import Outgoing, first_frame

Context = grpc.aio.ServicerContext[agent_service_pb2.AgentFrame, agent_service_pb2.ServerFrame]

RETRY_SECONDS: Final = 1.0
"""When to repeat reports that the database did not take: sooner it would hardly answer again."""


class AgentService(agent_service_pb2_grpc.AgentServiceServicer):
    """Serves agents with a stream, and those that poll."""

    def __init__(self, agents: Agents, polled: PolledAgents) -> None:
        """Connect agents to the shard behind both."""
        self._agents = agents
        self._polled = polled

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
        seconds = longest_wait(request.wait_ms / 1000, self._polled.lease, context.time_remaining())
        return await self._polled.poll(request, seconds, Caller(context.peer()))

    async def ReportBatch(
        self, request: agent_service_pb2.ReportBatchRequest, context: Any
    ) -> agent_service_pb2.ReportBatchResponse:
        """Apply reports; answered when they are durable, or when that takes too long."""
        lease = self._polled.lease
        try:
            async with asyncio.timeout(longest_wait(lease, lease, context.time_remaining())):
                return await self._polled.report(request)
        except TimeoutError:
            text = "the reports are not durable yet, because the database does not answer; repeat the batch"
            raise StorageUnavailable(text, retry_after=RETRY_SECONDS) from None
