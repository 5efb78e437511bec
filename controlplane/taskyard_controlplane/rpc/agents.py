"""The agents' stream and their unary calls: moves messages between gRPC and the owner, decides nothing."""

import asyncio
from typing import Any, Final

import grpc.aio

from taskyard_api.v1 import agent_service_pb2, agent_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest, StorageUnavailable
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.polling import longest_wait
from taskyard_controlplane.rpc.streams import Outgoing, first_frame

Context = grpc.aio.ServicerContext[agent_service_pb2.AgentFrame, agent_service_pb2.ServerFrame]

RETRY_SECONDS: Final = 1.0
"""When to repeat reports that the database did not take: sooner it would hardly answer again."""


class AgentService(agent_service_pb2_grpc.AgentServiceServicer):
    """Serves agents with a stream, and those that poll."""

    def __init__(self, directory: Directory) -> None:
        """Connect agents to the owner."""
        self._directory = directory

    async def Connect(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        frame = await first_frame(context, "hello", "an agent")
        agents = self._directory.owner().connections.agents
        outgoing = Outgoing(context)
        agent, welcome = agents.open(frame.hello, Caller(context.peer()), outgoing.wake, outgoing.close)
        try:
            await context.write(agent_service_pb2.ServerFrame(welcome=welcome))
            outgoing.start(agent.next_frame)
            agents.receive(agent, frame)
            while (frame := await outgoing.read()) is not None:
                if frame.HasField("hello"):
                    raise InvalidRequest("an agent said hello twice on one stream")
                agents.receive(agent, frame)
        except asyncio.CancelledError:
            outgoing.raise_if_closed()
            raise
        finally:
            agents.disconnected(agent, outgoing.wake)
            await outgoing.stop()

    async def Poll(
        self, request: agent_service_pb2.PollRequest, context: Any
    ) -> agent_service_pb2.PollResponse:
        polled = self._directory.owner().connections.polled
        seconds = longest_wait(request.wait_ms / 1000, polled.lease, context.time_remaining())
        return await polled.poll(request, seconds, Caller(context.peer()))

    async def ReportBatch(
        self, request: agent_service_pb2.ReportBatchRequest, context: Any
    ) -> agent_service_pb2.ReportBatchResponse:
        polled = self._directory.owner().connections.polled
        lease = polled.lease
        try:
            async with asyncio.timeout(longest_wait(lease, lease, context.time_remaining())):
                return await polled.report(request)
        except TimeoutError:
            text = "the reports are not durable yet, because the database does not answer; repeat the batch"
            raise StorageUnavailable(text, retry_after=RETRY_SECONDS) from None
