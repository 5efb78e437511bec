"""The clients' stream: moves frames between gRPC and the owner, decides nothing."""

import asyncio

import grpc.aio

from taskyard_api.v1 import session_service_pb2, session_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.streams import Outgoing, first_frame

Context = grpc.aio.ServicerContext[session_service_pb2.ClientFrame, session_service_pb2.SessionFrame]


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    """Serves `SessionService.Connect`: one call is the stream of one client."""

    def __init__(self, directory: Directory) -> None:
        """Connect clients to the owner."""
        self._directory = directory

    async def Connect(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        frame = await first_frame(context, "hello", "a client")
        clients = self._directory.owner().connections.clients
        outgoing = Outgoing(context)
        session, welcome = clients.open(frame.hello, Caller(context.peer()), outgoing.wake, outgoing.close)
        try:
            await context.write(session_service_pb2.SessionFrame(welcome=welcome))
            outgoing.start(session.next_frame)
            await clients.receive(session, frame)
            while (frame := await outgoing.read()) is not None:
                if frame.HasField("hello"):
                    raise InvalidRequest("a client said hello twice on one stream")
                await clients.receive(session, frame)
        except asyncio.CancelledError:
            outgoing.raise_if_closed()
            raise
        finally:
            clients.disconnected(session, outgoing.wake)
            await outgoing.stop()
