"""Tokens: text that is opaque to clients, and for us a few numbers and what they were asked for.

Each kind has a number of its own, and each token the version that wrote it: elsewhere its numbers would mean
something else, and what was skipped by them would not be noticed.

Invariant: a token is read only as the kind it was written as, in the same version, for the same conditions.
"""

import base64
import binascii
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message

from taskyard_contract.errors import InvalidRequest

SCOPE_BYTES: Final = 8
"""Of the digest of what a token is bound to."""
ANYTHING: Final = bytes(SCOPE_BYTES)
"""The scope of what has no conditions."""


def scope_of(conditions: Message | bytes, *, oldest_first: bool = False) -> bytes:
    """Return what a token is bound to: a digest of what was asked for, and in which order."""
    data = conditions if isinstance(conditions, bytes) else conditions.SerializeToString(deterministic=True)
    if oldest_first:
        data += b" oldest first"
    return sha256(data).digest()[:SCOPE_BYTES]


class TokenKind:
    """What tokens of one kind have in common."""

    def __init__(self, version: int, kind: int, numbers: int, *, field: str, issuer: str, again: str) -> None:
        """Describe them.

        Args:
            version: Grows when the numbers come to mean something else: old tokens are refused then.
            kind: No other has this number.
            numbers: How many there are in each; none is negative.
            field: Of the requests that carry them.
            issuer: Who issues them, for people.
            again: How to begin without one, for people.
        """
        self._head = version, kind
        self._format = struct.Struct(f">BB{SCOPE_BYTES}s{numbers}q")
        self._length = len(_text(bytes(self._format.size)))
        self._field = field
        self._issuer = issuer
        self._again = again

    def write(self, numbers: Sequence[int], scope: bytes) -> str:
        """Return the token that stands for some numbers, bound to a scope."""
        return _text(self._format.pack(*self._head, scope, *numbers))

    def read(self, token: str, scope: bytes) -> list[int] | None:
        """Return the numbers a token stands for, None for the empty token.

        Raises:
            InvalidRequest: It is none of this kind, or bound to another scope.
        """
        if not token:
            return None
        bound, numbers = self._taken_apart(token)
        if not numbers or min(numbers) < 0:
            raise InvalidRequest(
                f"{self._field} was not issued by {self._issuer}; {self._again}", field=self._field
            )
        if bound != scope:
            raise InvalidRequest(
                f"{self._field} was issued for another request; repeat that one, or {self._again}",
                field=self._field,
            )
        return numbers

    def _taken_apart(self, token: str) -> tuple[bytes, list[int]]:
        """Return scope and numbers; no numbers if it is none of this kind."""
        if len(token) == self._length:
            try:
                packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            except (binascii.Error, ValueError):
                return b"", []
            version, kind, bound, *numbers = self._format.unpack(packed)
            if (version, kind) == self._head:
                return bound, numbers
        return b"", []


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
