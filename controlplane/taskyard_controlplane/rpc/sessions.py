"""The clients' stream: moves frames between gRPC and the owner, decides nothing."""

import grpc.aio

from taskyard_api.v1 import session_service_pb2, session_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.peers.frame_limits import (
    FEW_BYTES,
    check_client_frame,
    check_client_hello,
    defined_bytes,
    new_runs,
)
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.owner.serving.connections import Connections
from taskyard_controlplane.owner.serving.crowd import SMALL_BYTES
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.streams import Outgoing, Places, Received, first_frame
from taskyard_controlplane.settings import PeerSettings

Frame = session_service_pb2.ClientFrame
Context = grpc.aio.ServicerContext[Frame, session_service_pb2.SessionFrame]


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    """Serves `SessionService.Connect`: one call is the stream of one client."""

    def __init__(self, directory: Directory, settings: PeerSettings, places: Places) -> None:
        """Connect clients to the owner, each of their streams in one of `places`."""
        self._directory = directory
        self._settings = settings
        self._places = places

    async def Connect(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        peer = context.peer()
        with self._places.take(peer):
            first = await first_frame(context, "hello", "a client", self._settings.first_frame_seconds)
            check_client_hello(first.frame.hello)
            connections = self._directory.owner().connections
            clients = connections.clients
            outgoing = Outgoing(context)
            session, welcome = clients.open(first.frame.hello, Caller(peer), outgoing.wake, outgoing.close)
            reading = _read(outgoing, connections, session, first)
            del first  # or it would be kept as long as the stream
            try:
                await outgoing.serve(
                    reading,
                    lambda: clients.disconnected(session, outgoing.wake),
                    session_service_pb2.SessionFrame(welcome=welcome),
                    session.next_frame,
                    lambda: session.written() if session.wake is outgoing.wake else None,
                )
            finally:
                session.stream_ended(outgoing.wake)


async def _read(
    outgoing: Outgoing, connections: Connections, session: ClientSession, received: Received | None
) -> None:
    clients, intake = connections.clients, connections.client_intake
    while received is not None:
        frame, size = received
        if size > FEW_BYTES:
            check_client_frame(frame)
        await clients.receive(session, frame)
        runs = new_runs(frame.submit) if frame.HasField("submit") else None
        defined = defined_bytes(frame.submit) if size > SMALL_BYTES else 0
        logs = frame.HasField("logs")
        frame = received = None  # or it would be kept until there is another
        await intake.took(session, size, runs=runs, defined=defined, logs=logs)
        received = await outgoing.read()
        if received is not None and received.frame.HasField("hello"):
            raise InvalidRequest("a client said hello twice on one stream")
