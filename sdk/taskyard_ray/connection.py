"""The connection to Ray, of which a process has one: flow runs that go on at a time share it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from taskyard.logging import get_logger


class _Shared:
    """The connection that task runners have made, not the program itself."""

    users = 0
    address: str | None = None


_lock = threading.Lock()


@contextmanager
def connected(address: str | None, init_kwargs: Mapping[str, Any], shutdown: bool) -> Iterator[None]:
    """Be connected while entered; what the program has connected itself is used, and stays.

    Args:
        address: Of the cluster; None for one that is started.
        init_kwargs: What `ray.init` gets besides.
        shutdown: Whether the last one ends the connection.

    Raises:
        ConnectionError: There is no cluster at the address.
        RuntimeError: Another flow run of this process uses another cluster.
    """
    with _lock:
        ours = _Shared.users > 0 or not ray.is_initialized()
        if ours:
            _share(address, init_kwargs)
    try:
        yield
    finally:
        if ours:
            _leave(shutdown)


def _share(address: str | None, init_kwargs: Mapping[str, Any]) -> None:
    if not _Shared.users:
        at = f"Using the Ray cluster at {address}" if address else "Starting a Ray cluster for this flow run"
        get_logger("task_runner.ray").info(at)
        ray.init(address or "local", **init_kwargs)
        _Shared.address = address
    elif address != _Shared.address:
        raise RuntimeError(
            f"a flow run of this process uses the Ray cluster at {_Shared.address or 'this machine'}, so none"
            f" can use {address or 'one of its own'} at the same time: Ray has one connection for a process"
        )
    _Shared.users += 1


def _leave(shutdown: bool) -> None:
    with _lock:
        _Shared.users -= 1
        if shutdown and not _Shared.users:
            ray.shutdown()
