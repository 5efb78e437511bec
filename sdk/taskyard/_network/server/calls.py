"""Unary calls to a control plane: runs, blobs, agents, the cache, documents.

One object serves synchronous code (the CLI, `Future.state`) and the SDK's own loop: each call is a coroutine
underneath, and `_call` runs it on the loop thread.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from taskyard._network.server.document_calls import DocumentCalls
from taskyard._network.server.run_calls import RUN_PAGE, RunCalls
from taskyard_api.v1 import blob_service_pb2, common_pb2
from taskyard_contract.errors import Overloaded
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.repeating import repeated

if TYPE_CHECKING:
    from taskyard_api.v1 import admin_service_pb2, cache_service_pb2
    from taskyard_contract.transport.direct_transfers import DirectTransfers

BLOB_SECONDS: Final = 300.0
"""For any transfer; large ones have longer."""
CLEARING_SECONDS: Final = 300.0
"""A server removes tens of thousands of entries a second, and may be busy."""


class Client(RunCalls, DocumentCalls):
    """Calls of one control plane. Use as a context manager, or `close` it."""

    _direct: "DirectTransfers | None" = None

    def server_info(self) -> "admin_service_pb2.GetServerInfoResponse":
        """Read which release the server is, since when it runs, and how much it has to do."""
        from taskyard_api.v1 import admin_service_pb2  # only the command line asks

        request = admin_service_pb2.GetServerInfoRequest()
        return self._call(lambda: self._admin().GetServerInfo(request, timeout=self._seconds))

    def list_agents(self, page_token: str = "", page_size: int = 0) -> "admin_service_pb2.ListAgentsResponse":
        """Read one page of agents."""
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.ListAgentsRequest(page_token=page_token, page_size=page_size)
        return self._call(lambda: self._admin().ListAgents(request, timeout=self._seconds))

    def agents(self) -> "Iterator[admin_service_pb2.Agent]":
        """Yield all agents, connected ones first."""
        token = ""
        while True:
            page = self.list_agents(token)
            yield from page.agents
            if not page.next_page_token:
                return
            token = page.next_page_token

    def tasks(self, queue: str = "") -> "Iterator[admin_service_pb2.Task]":
        """Yield the tasks that agents have registered by name, those of one queue if it is given."""
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.ListTasksRequest(queue=queue)
        while True:
            page = self._call(lambda: self._admin().ListTasks(request, timeout=self._seconds))
            yield from page.tasks
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def drain_agent(self, agent_id: str, *, reason: str = "", requested_by: str = "") -> int:
        """Ask an agent to finish what it holds and end; returns how many runs it holds.

        Args:
            agent_id: The agent.
            reason: Why, for people.
            requested_by: Who asks, for people.
        """
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.DrainAgentRequest(
            agent_id=agent_id, reason=reason, requested_by=requested_by
        )
        return int(self._call(lambda: self._admin().DrainAgent(request, timeout=self._seconds)).held_runs)

    def cache_entries(self) -> "Iterator[cache_service_pb2.CacheEntry]":
        """Yield the entries of the cache, in the order of their keys."""
        from taskyard_api.v1 import cache_service_pb2  # as above

        request = cache_service_pb2.ListCacheEntriesRequest(page_size=RUN_PAGE)
        while True:
            page = self._call(lambda: self._cache().ListCacheEntries(request, timeout=self._seconds))
            yield from page.entries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def cache_entry(self, key: str) -> "cache_service_pb2.CacheEntry | None":
        """Read the entry of a cache key; None when there is none."""
        from taskyard_api.v1 import cache_service_pb2  # as above

        request = cache_service_pb2.GetCacheEntryRequest(key=key)
        answer = self._call(lambda: self._cache().GetCacheEntry(request, timeout=self._seconds))
        return answer.entry if answer.HasField("entry") else None

    def clear_cache(self, request: "cache_service_pb2.ClearCacheRequest") -> int:
        """Remove entries of the cache; returns how many there were. A large one takes its time."""
        return int(self._call(lambda: self._cache().ClearCache(request, timeout=CLEARING_SECONDS)).removed)

    def prune(self, request: "admin_service_pb2.PruneRequest") -> "Iterator[admin_service_pb2.PruneResponse]":
        """Remove what is over; yields how far that has come."""
        from taskyard._network.server.following import (
            in_this_thread,
            messages_of,
        )  # only the command line asks

        return in_this_thread(messages_of(lambda _: self._admin().Prune(request), ""))

    def storage(self) -> "admin_service_pb2.GetStorageResponse":
        """Read what takes the room."""
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.GetStorageRequest()
        return self._call(lambda: self._admin().GetStorage(request, timeout=CLEARING_SECONDS))

    def upload(self, ref: common_pb2.BlobRef, pieces: Sequence[bytes | memoryview]) -> None:
        """Store a blob in the control plane, unless it has it; `pieces` are its content."""
        self._call(
            lambda: repeated(lambda: self.upload_async(ref, pieces), passing=(Overloaded,)), seconds_for(ref)
        )

    def is_stored(self, digest: bytes) -> bool:
        """Say whether the control plane has a blob."""
        asked = blob_service_pb2.FindMissingBlobsRequest(digests=[digest])
        found = self._call(lambda: self._blobs().FindMissingBlobs(asked, timeout=self._seconds))
        return not found.missing

    def download(self, ref: common_pb2.BlobRef) -> bytes | memoryview:
        """Read bytes that were stored, by whomever; they are checked.

        Raises:
            BlobNotFound: The control plane has none of this name.
            DigestMismatch: What arrived is not what was stored.
        """
        return self._call(lambda: self.download_async(ref), seconds_for(ref))

    async def upload_async(self, ref: common_pb2.BlobRef, pieces: Sequence[bytes | memoryview]) -> None:
        """Store a blob, on the loop thread."""
        stub = self._blobs()
        asked = blob_service_pb2.FindMissingBlobsRequest()
        if ref.name:
            asked.names.append(ref.name)
        else:
            asked.digests.append(ref.digest)
        found = await stub.FindMissingBlobs(asked, timeout=self._seconds)
        if not (found.missing or found.missing_names):
            return
        if not await self._sent_past(ref, pieces):
            await blob_transfer.send(stub, ref, pieces, timeout=seconds_for(ref))

    async def download_async(self, ref: common_pb2.BlobRef) -> memoryview:
        """Read stored bytes, on the loop thread: into memory that they can stay in, arrays for example."""
        received = await self._received_past(ref)
        if received is not None:
            return received
        content, size = bytearray(ref.size), 0
        parts = blob_transfer.receive(self._blobs(), ref, timeout=seconds_for(ref))
        async for part in parts:
            content[size : size + len(part)] = part
            size += len(part)
        return memoryview(content)

    async def _sent_past(self, ref: common_pb2.BlobRef, pieces: Sequence[bytes | memoryview]) -> bool:
        """Store a blob past the control plane, if it is large and there is a way."""
        if ref.size < blob_transfer.DIRECT_BYTES:
            return False
        from taskyard_contract.transport.direct_store import MemorySource  # most programs do without HTTP

        return await self._past().store(self._blobs(), ref, MemorySource(pieces))

    async def _received_past(self, ref: common_pb2.BlobRef) -> memoryview | None:
        """Read a blob past the control plane, if it is large and there is a way."""
        if ref.size < blob_transfer.DIRECT_BYTES:
            return None
        from taskyard_contract.transport.direct_fetch import MemoryTarget  # as above

        target = MemoryTarget(ref.size)
        return target.content if await self._past().fetch(self._blobs(), ref, target) else None

    def _past(self) -> "DirectTransfers":
        if self._direct is None:
            from taskyard_contract.transport.direct_transfers import DirectTransfers  # as above

            self._direct = DirectTransfers(lambda: self.address)
        return self._direct


def seconds_for(ref: common_pb2.BlobRef) -> float:
    """Return how long the transfer of a blob may take: over a slow line, 4 megabits a second."""
    return max(BLOB_SECONDS, ref.size / 500_000)
