"""All services of the contract, bound to a directory of owners and to a reader."""

from collections.abc import Callable
from typing import Any, Final

from taskyard_api.v1 import (
    admin_service_pb2_grpc,
    agent_service_pb2_grpc,
    blob_service_pb2_grpc,
    cache_service_pb2_grpc,
    document_service_pb2_grpc,
    run_service_pb2_grpc,
    session_service_pb2_grpc,
)
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.calls import CallReader
from taskyard_controlplane.reading.counting import RunCounter
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.reading.summing import RunSummarizer
from taskyard_controlplane.rpc.admin import AdminService
from taskyard_controlplane.rpc.agents import AgentService
from taskyard_controlplane.rpc.blobs import BlobService
from taskyard_controlplane.rpc.cache import CacheService
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.documents.service import DocumentService
from taskyard_controlplane.rpc.runs import RunService
from taskyard_controlplane.rpc.server import RpcServer
from taskyard_controlplane.rpc.sessions import SessionService
from taskyard_controlplane.rpc.streams import Places
from taskyard_controlplane.sealing.keys import KeyRing
from taskyard_controlplane.settings import PeerSettings, RpcSettings
from taskyard_controlplane.storage.interface import Reader
from taskyard_controlplane.transfers.granting import Granting

_PACKAGE: Final = "taskyard_api.v1"


class Services:
    """All services of a server, made before it listens and before anybody owns the runs."""

    def __init__(
        self,
        directory: Directory,
        reader: Reader,
        background: Background,
        blobs: BlobStore,
        writing: Background,
        settings: RpcSettings,
        peers: PeerSettings,
        granting: Granting,
        keys: KeyRing,
        *,
        dialect: str,
        started_us: int,
    ) -> None:
        """Give each service what it needs.

        Args:
            directory: Who owns the runs.
            reader: The database, for listings.
            background: Where reads block.
            blobs: Where large values are.
            writing: Where these are written and read.
            settings: Limits.
            peers: What one peer may take up.
            granting: How large values are moved past this process.
            keys: What encrypts secrets.
            dialect: What kind of database it is, for operators.
            started_us: When the server started.
        """
        reading = RunReader(reader, background, directory.live_state, directory.held_by)
        counter = RunCounter(reader, background, reading, directory.live_state)
        summarizer = RunSummarizer(reader, background, directory.in_hand)
        calls = CallReader(reader, background)
        self._runs = RunService(directory, reading, counter, settings, peers, summarizer, calls)
        streams = Places("streams", most=peers.max_streams, per_address=peers.max_streams_per_address)
        self._services: tuple[tuple[str, Callable[[Any, Any], None], Any], ...] = (
            ("SessionService", session_service_pb2_grpc.add_SessionServiceServicer_to_server,
             SessionService(directory, peers, streams)),
            ("AgentService", agent_service_pb2_grpc.add_AgentServiceServicer_to_server,
             AgentService(directory, peers, streams)),
            ("RunService", run_service_pb2_grpc.add_RunServiceServicer_to_server, self._runs),
            ("BlobService", blob_service_pb2_grpc.add_BlobServiceServicer_to_server,
             BlobService(directory, reader, background, blobs, writing, settings, peers, granting)),
            ("CacheService", cache_service_pb2_grpc.add_CacheServiceServicer_to_server,
             CacheService(directory, reader, background, settings)),
            ("DocumentService", document_service_pb2_grpc.add_DocumentServiceServicer_to_server,
             DocumentService(directory, reader, background, settings, keys)),
            ("AdminService", admin_service_pb2_grpc.add_AdminServiceServicer_to_server,
             AdminService(directory, settings, dialect, started_us)),
        )  # fmt: skip

    def add_to(self, server: RpcServer) -> None:
        """Let a server serve them."""
        for name, register, service in self._services:
            server.add(register, service, f"{_PACKAGE}.{name}")

    def begin_stop(self) -> None:
        """End what waits, so that its callers look for the next server."""
        self._runs.begin_stop()
