"""HTTP/1.1 as far as blobs need it: GET of a range, PUT of all of a content. It blocks: for threads.

Where a request goes, and what lets it in, comes from the control plane and is a secret for as long as it can
be used: no exception of this module repeats an address, a path, a header, or what a server has answered.

The standard library does all this: connections that are used again, TLS with what the system trusts, bytes
read into memory that is there already, and files sent by the kernel. What a library would add, repeating and
pools, is done by who knows which bytes have arrived. Redirects are not followed, and no proxy is used: both
would show to others what lets one in.
"""

import http.client
import ssl
import threading
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2 import TransferGrant

CONNECT_SECONDS: Final = 5.0
"""Who is in the way of a connection often says nothing, and there is another way for blobs."""
SILENCE_SECONDS: Final = 30.0
"""So long nothing may come, or be taken, on a connection that is there."""
BLOB_HEADER: Final = "Taskyard-Blob"
"""In every success of the process that serves blobs for a control plane: which blob it is about. What answers
without it is another server.
"""
DONE: Final = frozenset({200, 201, 204})
_BUSY: Final = frozenset({429, 503})
_ELSEWHERE: Final = frozenset({404, 409, 412, 413, 416, 507})
"""Not there, or another one; too large, or no room: the control plane can say which, and what to do."""
_DAMAGED: Final = 400
_EXPIRED: Final = 403
_LONGEST_WAIT: Final = 30.0


class HttpFailure(Exception):
    """A request has not led to what it was for. Its text may be shown to anybody."""


class Unreachable(HttpFailure):
    """Nobody is there, or it is not who it should be."""


class Unusable(HttpFailure):
    """Who is there does not do what was granted, and will not do it the next time."""


class Expired(HttpFailure):
    """It does not let this request in, or no more."""


class Elsewhere(HttpFailure):
    """It works, but does not have this blob, or does not take it; why, the control plane knows."""


class Broken(HttpFailure):
    """It may work the next time."""


class Busy(HttpFailure):
    """It has too much to do, and may take it later."""

    wait: float = 0.0
    """After so many seconds, if it said so."""


class Where(NamedTuple):
    """Where requests of a grant go."""

    scheme: str
    host: str
    port: int
    path: str
    """With the parameters: a secret."""
    headers: dict[str, str]
    """The same."""

    @property
    def server(self) -> str:
        """Whom one talks to, for people."""
        return f"{self.host}:{self.port}"


def where_of(grant: "TransferGrant", address: str) -> Where:
    """Return where a grant leads to.

    Args:
        grant: The grant.
        address: At which the control plane is reached.

    Raises:
        Unusable: It leads nowhere.
    """
    with suppress(ValueError):
        parts = urlsplit(grant.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if grant.port:
            return Where("http", host_of(address), grant.port, path, dict(grant.headers))
        if parts.scheme in ("http", "https") and parts.hostname:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            return Where(parts.scheme, parts.hostname, port, path, dict(grant.headers))
    raise Unusable("the control plane has granted a transfer that leads nowhere")


def host_of(address: str) -> str:
    """Return the host of a control plane; who reaches it by a socket is on the same machine."""
    if address.startswith("unix:"):
        return "127.0.0.1"
    host, _, port = address.rpartition(":")
    return (host if host and not port.endswith("]") else address).strip("[]")


class Requests:
    """The connections of one transfer. Threads may make requests at the same time, on one connection each."""

    def __init__(self) -> None:
        """Connect to nobody yet."""
        self.stopped = False
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()

    def stop(self) -> None:
        """End what is under way, in whatever thread."""
        self.stopped = True
        with self._lock:
            for connection in self._open:
                with suppress(OSError, AttributeError):  # not yet, or no more
                    connection.sock.shutdown(2)

    def connect(self, where: Where) -> http.client.HTTPConnection:
        """Connect to who serves a blob; `close` it.

        Raises:
            Unreachable: Nobody is there.
            Broken: The transfer was stopped.
        """
        try:
            connection = _connection(where)
        except (OSError, ValueError) as error:
            raise Unusable(f"cannot be asked ({_said(error)})") from None
        with self._lock:
            self._open.add(connection)
        try:
            connection.connect()
            connection.sock.settimeout(SILENCE_SECONDS)
        except (OSError, ValueError) as error:
            self.close(connection)
            raise Unreachable(f"cannot be reached ({_said(error)})") from None
        if self.stopped:
            self.close(connection)
            raise Broken("the transfer was given up")
        return connection

    def close(self, connection: http.client.HTTPConnection) -> None:
        """Give up a connection."""
        with self._lock:
            self._open.discard(connection)
        connection.close()


def send_head(
    connection: http.client.HTTPConnection, method: str, where: Where, more: dict[str, str]
) -> None:
    """Send all of a request but its body.

    Raises:
        Unusable: It cannot be written as HTTP.
        HttpFailure: The connection has ended.
    """
    try:
        connection.putrequest(method, where.path)
        for name, value in {**where.headers, **more}.items():
            connection.putheader(name, value)
        connection.endheaders()
    except (ValueError, http.client.InvalidURL):
        raise Unusable("has a grant that is no request") from None
    except (OSError, http.client.HTTPException) as error:
        raise lost(error) from None


def answer_of(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """Read an answer up to its body; use it by `with`.

    Raises:
        HttpFailure: It is not what a request is made for.
    """
    try:
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise lost(error) from None
    if answer.status in DONE or answer.status == http.client.PARTIAL_CONTENT:
        return answer
    with answer:  # what it says is not read, so its connection can only be closed
        raise _failure(answer)


def lost(error: Exception) -> HttpFailure:
    """Return what it means that a connection has ended: whoever says nothing at all may do so again."""
    if isinstance(error, TimeoutError):
        return Unreachable("says nothing")
    return Broken(f"was lost ({_said(error)})")


def _failure(answer: http.client.HTTPResponse) -> HttpFailure:
    status = answer.status
    said = f"answered {status}"
    if status in _BUSY:
        busy = Busy(said)
        with suppress(ValueError):  # it may be a date
            busy.wait = min(max(0.0, float(answer.headers.get("Retry-After") or 0)), _LONGEST_WAIT)
        return busy
    if status in _ELSEWHERE:
        return Elsewhere(said)
    if status == _EXPIRED:
        return Expired(said)
    if (status >= 500 and status != http.client.NOT_IMPLEMENTED) or status in (_DAMAGED, 408):
        return Broken(said)
    return Unusable(said)


def _connection(where: Where) -> http.client.HTTPConnection:
    if where.scheme == "https":
        return http.client.HTTPSConnection(
            where.host, where.port, timeout=CONNECT_SECONDS, context=_trusted()
        )
    return http.client.HTTPConnection(where.host, where.port, timeout=CONNECT_SECONDS)


@cache
def _trusted() -> ssl.SSLContext:
    """Return whom the system trusts: reading that takes 20 ms."""
    return ssl.create_default_context()


def _said(error: Exception) -> str:
    """Return what may be known of an error: what servers say has been seen to repeat requests."""
    text = getattr(error, "strerror", None)
    return str(text) if isinstance(error, OSError) and text else type(error).__name__
