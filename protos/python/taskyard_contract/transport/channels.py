"""Options and addresses of gRPC channels and servers, in one place because both ends must agree."""

import os
from typing import Any, Final

MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""What the contract demands of every peer; senders cut their frames far below, where one item allows it."""
UNIX: Final = "unix:"
"""What the address of a socket begins with; its path follows, as it is."""
_OF_URLS: Final = frozenset("%?# ")
DEFAULT_GRPC_PORT: Final = 4700
"""Of an address without a port."""
DEFAULT_HTTP_PORT: Final = 4701
"""Where a server answers probes unless told otherwise: the port beside the other one."""
UNREAD_BYTES: Final = 1024 * 1024
"""Of one stream, before the server reads it: enough for 20 MB/s from the other side of an ocean."""
MAX_CONCURRENT_CALLS: Final = 256
"""On one connection, streams included."""

_SIZES: Final[list[tuple[str, Any]]] = [
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

CLIENT_OPTIONS: Final[list[tuple[str, Any]]] = [
    *_SIZES,
    ("grpc.http2.max_pings_without_data", 0),
    # Sessions reconnect by themselves; the channel's own back-off would only add to their delay.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two parts of one process must not share a connection's fate or its flow-control window.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # What gRPC repeats by itself it also repeats on a connection whose server has said goodbye: a call that
    # meets the end of a server so may go round for ever, and its channel with it. We repeat what may be.
    ("grpc.enable_retries", 0),
]

SERVER_OPTIONS: Final[list[tuple[str, Any]]] = [
    *_SIZES,
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Two servers on one port would each hold half of the work.
    ("grpc.so_reuseport", 0),
    # Far more calls than one program makes at a time; what is beyond waits in the caller.
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_CALLS),
    # What a stream that is not read may send. Probing would find room for all of it on a quick network.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", UNREAD_BYTES),
    # Who has nothing to say, at first or any more, is let go; channels connect again by themselves.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
]


def target_of(address: str) -> str:
    """Turn a user's address (``HOST:PORT``, ``HOST``, ``unix:PATH``) into a gRPC target.

    Raises:
        ValueError: The address is empty, has a scheme or a path, or its port is not a number.
    """
    if not address:
        raise ValueError("the server address is empty; give HOST:PORT or unix:PATH")
    if address.startswith(UNIX):
        return unix_target(address)
    if "/" in address:
        raise ValueError(f"'{address}' is not a server address; give HOST:PORT, without a scheme or a path")
    host, separator, port = address.rpartition(":")
    if not separator or port.endswith("]"):
        return f"{address}:{DEFAULT_GRPC_PORT}"
    if not port.isdigit():
        raise ValueError(f"'{address}' is not a server address; give HOST:PORT or unix:PATH")
    return f"{host}:{port}"


def unix_target(address: str) -> str:
    """Turn ``unix:PATH`` into a gRPC target, a URL, to which more characters mean something."""
    if address.isascii() and not _OF_URLS.intersection(address):
        return address
    from urllib.parse import quote  # nearly no path needs it

    slashes, path = ("//", address[7:]) if address.startswith("unix://") else ("", address[5:])
    return f"{UNIX}{slashes}{quote(os.fsencode(path))}"
