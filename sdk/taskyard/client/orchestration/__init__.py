"""Clients of a control plane, for programs that look at runs from outside, and cancel them."""

from typing import TYPE_CHECKING, Any, Literal, overload

from taskyard import settings
from taskyard._missing_features import absent_names
from taskyard.client.orchestration.async_client import TaskyardClient
from taskyard.client.orchestration.refusals import refuse
from taskyard.client.orchestration.sync_client import SyncTaskyardClient

__all__ = ["SyncTaskyardClient", "TaskyardClient", "get_client"]


@overload
def get_client(
    httpx_settings: dict[str, Any] | None = None, sync_client: Literal[False] = False
) -> TaskyardClient: ...


@overload
def get_client(
    httpx_settings: dict[str, Any] | None = None, *, sync_client: Literal[True]
) -> SyncTaskyardClient: ...


@overload
def get_client(httpx_settings: dict[str, Any] | None, sync_client: Literal[True]) -> SyncTaskyardClient: ...


def get_client(
    httpx_settings: dict[str, Any] | None = None, sync_client: bool = False
) -> TaskyardClient | SyncTaskyardClient:
    """Return a client of the control plane that TASKYARD_SERVER names, without it of the local yard.

    Args:
        httpx_settings: Refused: calls are gRPC, not HTTP. None says nothing.
        sync_client: Whether it is to be the blocking one, for ``with``; the other one is for ``async with``.

    Raises:
        NotSupported: There are settings for HTTP.
    """
    refuse(httpx_settings=httpx_settings or None)
    return SyncTaskyardClient(settings.server()) if sync_client else TaskyardClient(settings.server())


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
