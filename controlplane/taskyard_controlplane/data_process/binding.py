"""The socket that the data process gets."""

import socket
from typing import Final

from taskyard_controlplane.rpc.addresses import ListenFailed, ensure_free, split_host_port

BACKLOG: Final = 128
"""So many callers wait in the kernel while a data process is started again."""


def bind(address: str) -> socket.socket:
    """Return a socket that listens; callers wait until somebody takes them.

    Raises:
        ListenFailed: It cannot be bound.
    """
    ensure_free(address)
    host, port = split_host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # as gRPC does
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise ListenFailed(f"{address} cannot be listened on: {error.strerror}") from None
