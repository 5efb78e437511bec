"""Page tokens: opaque text for clients, for us a position in one listing and what that was asked for.

Invariant: a token is accepted only by the listing that issued it, with the same conditions, and only in the
version that wrote it: elsewhere its position would mean something else, and pages would skip items unnoticed.
"""

import base64
import binascii
import struct
from enum import IntEnum
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message

from taskyard_contract.errors import InvalidRequest

_VERSION: Final = 2
"""Grows when a position comes to mean something else: old tokens are refused then, not misread."""
_FORMAT: Final = struct.Struct(">BB8sq")
_HEAD: Final = struct.Struct(">BB")
SCOPE_BYTES: Final = 8
"""Of the digest of what a token is bound to."""
_LENGTH: Final = len(base64.urlsafe_b64encode(bytes(_FORMAT.size)).rstrip(b"="))


class Listing(IntEnum):
    """Which listing a token belongs to."""

    RUNS = 1
    LOGS = 2
    AGENTS = 3
    STATES = 4
    TASKS = 5
    CACHE = 6


def scope_of(conditions: Message | bytes, *, oldest_first: bool = False) -> bytes:
    """Return what a token is bound to: a digest of what was asked for, and in which order."""
    data = conditions if isinstance(conditions, bytes) else conditions.SerializeToString(deterministic=True)
    if oldest_first:
        data += b" oldest first"
    return sha256(data).digest()[:SCOPE_BYTES]


def encode(listing: Listing, position: int, scope: bytes = bytes(SCOPE_BYTES)) -> str:
    """Return the token for the page that begins at `position`."""
    packed = _FORMAT.pack(_VERSION, listing, scope, position)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(listing: Listing, token: str, scope: bytes = bytes(SCOPE_BYTES)) -> int | None:
    """Return the position a token stands for, None for the empty token.

    Raises:
        InvalidRequest: The token was not issued by this listing, or for other conditions.
    """
    if not token:
        return None
    version = kind = 0
    position, bound = -1, b""
    if len(token) == _LENGTH:
        try:
            packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            version, kind, bound, position = _FORMAT.unpack(packed)
        except (binascii.Error, ValueError, struct.error):
            pass
    if version != _VERSION or kind != listing or position < 0:
        raise _not_issued()
    if bound != scope:
        raise InvalidRequest(
            "page_token was issued for another request; repeat that one, or start without",
            field="page_token",
        )
    return int(position)


def encode_text(listing: Listing, position: str) -> str:
    """Return the token for the page behind a text, in a listing that nobody sets conditions for."""
    packed = _HEAD.pack(_VERSION, listing) + position.encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_text(listing: Listing, token: str) -> str:
    """Return the text that a token stands for, the empty one for the empty token.

    Raises:
        InvalidRequest: The token was not issued by this listing.
    """
    if not token:
        return ""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if _HEAD.unpack_from(packed) == (_VERSION, listing):
            return packed[_HEAD.size :].decode()
    except (binascii.Error, ValueError, struct.error):
        pass
    raise _not_issued()


def _not_issued() -> InvalidRequest:
    return InvalidRequest(
        "page_token was not issued by this listing; start again without one", field="page_token"
    )


def page_size(wanted: int, usual: int, most: int) -> int:
    """Return how many items a page has: what was asked for, within bounds."""
    return min(wanted or usual, most)
