"""What lets a peer in: a path that says what may be done, until when, and that the control plane said so.

Pure: key and time are arguments. The key is made anew at each start of the control plane, and known to it and
to its data process alone.

Invariant: nothing of a path is believed, or looked up, before its signature was compared.
"""

import hmac
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from taskyard_contract.errors import PermissionDenied

KEY_BYTES: Final = 32
_PATH: Final = re.compile(
    r"/b/(?P<name>[a-z0-9-]{1,128})\?size=(?P<size>[0-9]{1,20})&checksum=(?P<checksum>[0-9a-f]{16})"
    r"&until=(?P<until>[0-9]{1,20})&signature=(?P<signature>[0-9a-f]{64})"
)


class Ticket(NamedTuple):
    """One thing that somebody may do."""

    method: str
    """GET, which allows HEAD too, or PUT."""
    name: str
    size: int
    checksum: int
    """XXH3 of a result; 0 of what is named by its content."""
    until_ms: int
    """Until when it may begin, by a clock of this machine that never jumps."""


class Seal:
    """Signs tickets, and knows those it has signed."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        """Sign with a key; `clock` returns the seconds that tickets are valid by."""
        self._key = key
        self._clock = clock

    def path(self, method: str, name: str, size: int, checksum: int, seconds: float) -> str:
        """Return the path of a request that may begin within so many seconds from now on."""
        ticket = Ticket(method, name, size, checksum, round((self._clock() + seconds) * 1000))
        return (
            f"/b/{name}?size={size}&checksum={checksum:016x}&until={ticket.until_ms}"
            f"&signature={self._signature(ticket)}"
        )

    def ticket(self, method: str, path: str) -> Ticket:
        """Return what a request may do.

        Raises:
            PermissionDenied: It was not let in, or not for this, or not any more.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            raise PermissionDenied("there is nothing here but blobs that the control plane lets one in for")
        ticket = Ticket(
            method, found["name"], int(found["size"]), int(found["checksum"], 16), int(found["until"])
        )
        if not hmac.compare_digest(self._signature(ticket), found["signature"]):
            raise PermissionDenied(
                f"the control plane has not let this {method} in; ask it for another grant, "
                "as after it was started again"
            )
        if self._clock() * 1000 > ticket.until_ms:
            raise PermissionDenied("the grant has expired; ask the control plane for another one")
        return ticket

    def _signature(self, ticket: Ticket) -> str:
        return hmac.digest(self._key, "\n".join(map(str, ticket)).encode(), "sha256").hex()
