"""Page tokens: a position in one listing, bound to what that was asked for."""

from enum import IntEnum
from typing import Final

from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.reading.tokens import ANYTHING, TextTokenKind, TokenKind

_VERSION: Final = 2


class Listing(IntEnum):
    """Which listing a token belongs to."""

    RUNS = 1
    LOGS = 2
    AGENTS = 3
    STATES = 4
    TASKS = 5
    SUMMARIES = 7  # 6 are the keys of the cache, 8 the names of documents
    CALLS = 9


_KINDS: Final = {
    listing: TokenKind(
        _VERSION, listing, 1, field="page_token", issuer="this listing", again="start again without one"
    )
    for listing in Listing
}


_KEYS: Final = TextTokenKind(
    _VERSION, 6, field="page_token", issuer="this listing", again="start again without one"
)


def encode(listing: Listing, position: int, scope: bytes = ANYTHING) -> str:
    """Return the token for the page that begins at `position`."""
    return _KINDS[listing].write([position], scope)


def decode(listing: Listing, token: str, scope: bytes = ANYTHING) -> int | None:
    """Return the position a token stands for, None for the empty token.

    Raises:
        InvalidRequest: The token was not issued by this listing, or for other conditions.
    """
    numbers = _KINDS[listing].read(token, scope)
    return None if numbers is None else numbers[0]


_NAMES: Final = TextTokenKind(
    _VERSION, 8, field="page_token", issuer="this listing", again="start again without one"
)


def encode_key(position: str) -> str:
    """Return the token for the page of the cache's listing that is behind a key."""
    return _KEYS.write(position)


def decode_key(token: str) -> str:
    """Return the key that a token stands for, the empty text for the empty token.

    Raises:
        InvalidRequest: The token was not issued by the listing of the cache.
    """
    return _KEYS.read(token)


def encode_name(position: str, scope: str) -> str:
    """Return the token for the page of documents that is behind a name, bound to what was asked for."""
    return _NAMES.write(f"{scope}\x00{position}")


def decode_name(token: str, scope: str) -> str:
    """Return the name that a token stands for, the empty text for the empty token.

    Raises:
        InvalidRequest: The token was not issued by a listing of documents, or for another request.
    """
    text = _NAMES.read(token)
    bound, _, position = text.rpartition("\x00")  # no name has this character
    if text and bound != scope:
        raise InvalidRequest(
            "page_token was issued for another request; repeat that one, or start again without one",
            field="page_token",
        )
    return position


def page_size(wanted: int, usual: int, most: int) -> int:
    """Return how many items a page has: what was asked for, within bounds."""
    return min(wanted or usual, most)
