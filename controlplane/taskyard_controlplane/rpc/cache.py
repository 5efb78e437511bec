"""CacheService: which keys have a result, and removing them."""
# The contract names the methods, and says what they promise.

from typing import Any, Final

from taskyard_api.v1 import cache_service_pb2 as pb
from taskyard_api.v1 import cache_service_pb2_grpc
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.domain.cache_keys import storable
from taskyard_controlplane.reading import page_tokens
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.messages import entry_message
from taskyard_controlplane.reading.pages import first_page
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.settings import RpcSettings
from taskyard_controlplane.storage.interface import Reader

USUAL_PAGE: Final = 100  # what somebody looks through


class CacheService(cache_service_pb2_grpc.CacheServiceServicer):
    """Implements the service over the owner, which removes, and a reader."""

    def __init__(
        self, directory: Directory, reader: Reader, background: Background, settings: RpcSettings
    ) -> None:
        """List what `reader` finds, on the threads of `background`."""
        self._directory = directory
        self._cache = reader.cache
        self._background = background
        self._settings = settings

    async def ListCacheEntries(
        self, request: pb.ListCacheEntriesRequest, context: Any
    ) -> pb.ListCacheEntriesResponse:
        after = page_tokens.decode_key(request.page_token)
        limit = page_tokens.page_size(request.page_size, USUAL_PAGE, self._settings.max_page_size)
        found = await self._background(self._cache.page, after, limit)
        entries = first_page([entry_message(entry) for entry in found.entries], limit)
        last = found.last_key
        if len(entries) < len(found.entries):
            last = found.entries[len(entries) - 1].cache_key
        token = page_tokens.encode_key(last) if last is not None else ""
        return pb.ListCacheEntriesResponse(entries=entries, next_page_token=token)

    async def GetCacheEntry(self, request: pb.GetCacheEntryRequest, context: Any) -> pb.GetCacheEntryResponse:
        if not request.key:
            raise InvalidRequest("key is empty; ListCacheEntries shows the keys", field="key")
        found = await self._background(self._cache.get, storable(request.key))
        return pb.GetCacheEntryResponse(entry=entry_message(found) if found is not None else None)

    async def ClearCache(self, request: pb.ClearCacheRequest, context: Any) -> pb.ClearCacheResponse:
        if sum((bool(request.key), request.ended_before_us != 0, request.all)) != 1:
            raise InvalidRequest("set exactly one of key, ended_before_us and all")
        if request.ended_before_us < 0:
            raise InvalidRequest("ended_before_us is negative; it is a time", field="ended_before_us")
        cache = self._directory.owner().cache
        if request.key:
            return pb.ClearCacheResponse(removed=await cache.key(request.key))
        return pb.ClearCacheResponse(removed=await cache.ended_before(request.ended_before_us or None))
