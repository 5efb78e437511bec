"""A client for the time of a block: whoever asks inside of it gets the one that is there."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final, Self

from taskyard import settings
from taskyard._durable_names import public
from taskyard.client.orchestration.async_client import TaskyardClient
from taskyard.client.orchestration.refusals import refuse
from taskyard.client.orchestration.sync_client import SyncTaskyardClient

_blocking: Final[ContextVar["SyncClientContext | None"]] = ContextVar("taskyard_sync_client", default=None)
_async: Final[ContextVar["AsyncClientContext | None"]] = ContextVar("taskyard_client", default=None)


@public("taskyard.context")
class SyncClientContext:
    """A blocking client, as `client`. Entered, it is what `get` returns; its end closes the client."""

    def __init__(self, httpx_settings: dict[str, Any] | None = None) -> None:
        """Make a client of the control plane that TASKYARD_SERVER names."""
        refuse(httpx_settings=httpx_settings or None)
        self.client = SyncTaskyardClient(settings.server())
        self._token: Token[SyncClientContext | None] | None = None

    @classmethod
    def get(cls) -> "SyncClientContext | None":
        """Return the innermost one, or None."""
        return _blocking.get()

    @classmethod
    @contextmanager
    def get_or_create(cls) -> Iterator["SyncClientContext"]:
        """Give the innermost one, or else one that ends with the block."""
        found = cls.get()
        if found is not None:
            yield found
            return
        with cls() as made:
            yield made

    def __enter__(self) -> Self:
        """Be what `get` returns."""
        self._token = _blocking.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        if self._token is not None:
            _blocking.reset(self._token)
        self.client.close()


@public("taskyard.context")
class AsyncClientContext:
    """A client for asynchronous code, as `client`. Entered, it is what `get` returns; its end closes it."""

    def __init__(self, httpx_settings: dict[str, Any] | None = None) -> None:
        """Make a client of the control plane that TASKYARD_SERVER names."""
        refuse(httpx_settings=httpx_settings or None)
        self.client = TaskyardClient(settings.server())
        self._token: Token[AsyncClientContext | None] | None = None

    @classmethod
    def get(cls) -> "AsyncClientContext | None":
        """Return the innermost one, or None."""
        return _async.get()

    @classmethod
    @asynccontextmanager
    async def get_or_create(cls) -> AsyncIterator["AsyncClientContext"]:
        """Give the innermost one, or else one that ends with the block."""
        found = cls.get()
        if found is not None:
            yield found
            return
        async with cls() as made:
            yield made

    async def __aenter__(self) -> Self:
        """Be what `get` returns."""
        self._token = _async.set(self)
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Close the client."""
        if self._token is not None:
            _async.reset(self._token)
        await self.client.__aexit__(*failure)
