"""Page tokens: opaque text for clients, one number for us.

Invariant: a token is accepted only by the listing that issued it, and only in the version that wrote it.
"""

import base64
import binascii
import struct
from enum import IntEnum
from typing import Final

from taskyard_contract.errors import InvalidRequest

_VERSION: Final = 1
"""Grows when a position comes to mean something else: old tokens are refused then, not misread."""
_FORMAT: Final = struct.Struct(">BBQ")


class Listing(IntEnum):
    """Which listing a token belongs to."""

    RUNS = 1
    LOGS = 2
    AGENTS = 3


def encode(listing: Listing, position: int) -> str:
    """Return the token for the page that begins at `position`."""
    packed = _FORMAT.pack(_VERSION, listing, position)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(listing: Listing, token: str) -> int | None:
    """Return the position a token stands for, None for the empty token.

    Raises:
        InvalidRequest: The token was not issued by this listing.
    """
    if not token:
        return None
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, kind, position = _FORMAT.unpack(packed)
    except (binascii.Error, ValueError, struct.error):
        version = kind = position = 0
    if version != _VERSION or kind != listing:
        raise InvalidRequest("page_token was not issued by this listing; start again without one")
    return int(position)


def page_size(wanted: int, usual: int, most: int) -> int:
    """Return how many items a page has: what was asked for, within bounds."""
    return min(wanted or usual, most)
