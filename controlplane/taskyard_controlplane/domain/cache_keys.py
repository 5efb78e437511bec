"""Cache keys as they are stored. Pure."""

from hashlib import sha256
from typing import Final

from taskyard_contract.wire_text import NAME_LIMIT

_DIGEST: Final = "sha256:"


def storable(key: str) -> str:
    """Return the key under which a result is kept: itself, or a digest of one that databases cannot index.

    Keys are made by users' functions and may be any text; equal ones stay equal.
    """
    if len(key) * 4 <= NAME_LIMIT and "\x00" not in key:
        return key
    data = key.encode()
    return key if len(data) <= NAME_LIMIT and b"\x00" not in data else _DIGEST + sha256(data).hexdigest()
