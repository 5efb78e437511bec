"""Listen addresses: parsed, and checked before gRPC sees them.

gRPC reports a failed bind without its reason, writes to the console by itself, and takes over the Unix socket
of a server that is alive. So the address is tried first; the moment between the two is harmless, because
gRPC's own bind still decides.
"""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

_UNIX_PATH_BYTES: Final = 107  # what fits into sockaddr_un, without the NUL
_TRY_SECONDS: Final = 1.0  # a server on this machine that is alive answers a connection much sooner


class ListenFailed(Exception):
    """The address cannot be listened on."""


class AddressInUse(ListenFailed):
    """Another process listens on the address."""


def split_host_port(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT``.

    Raises:
        ListenFailed: The address has another form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 0xFFFF:
        raise ListenFailed(f"'{address}' is not a listen address; give HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)


def unix_path(address: str) -> Path | None:
    """Return the path of ``unix:PATH``, None for other addresses."""
    return Path(address.removeprefix("unix:").removeprefix("//")) if address.startswith("unix:") else None


def ensure_free(address: str) -> None:
    """Make sure that nobody listens on an address, and remove the socket a dead server left behind.

    Raises:
        AddressInUse: Somebody listens there.
        ListenFailed: The address is malformed, or cannot be bound on this machine.
    """
    path = unix_path(address)
    if path is None:
        _ensure_port_free(*split_host_port(address), address)
    else:
        _ensure_socket_free(path)


def is_listening(path: Path) -> bool:
    """Whether a process accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TRY_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            return True  # a listener with a full queue is alive
        except OSError:
            return False
    return True


def _ensure_socket_free(path: Path) -> None:
    if len(os.fsencode(path)) > _UNIX_PATH_BYTES:
        raise ListenFailed(
            f"the socket path {path} is longer than {_UNIX_PATH_BYTES} bytes; choose a shorter directory"
        )
    if not path.parent.is_dir():
        raise ListenFailed(f"the directory of the socket {path} does not exist; create it first")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenFailed(f"{path} exists and is not a socket; remove it or choose another path")
    if is_listening(path):
        raise AddressInUse(f"another process listens on unix:{path}; stop it or choose another path")
    path.unlink(missing_ok=True)


def _ensure_port_free(host: str, port: int, address: str) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ListenFailed(f"'{host}' is not a host of this machine: {error.strerror}") from None
    if port == 0:
        return
    for family, kind, protocol, _, target in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(target)
            except OSError as error:
                raise _why_not_bound(error, address) from None


def _why_not_bound(error: OSError, address: str) -> ListenFailed:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"another process listens on {address}; stop it or choose another port")
    return ListenFailed(f"{address} cannot be listened on: {error.strerror}")
