"""The code of templates used last, kept at hand: agents get it with the template and need not fetch it."""

from typing import Final

CODE_BYTES: Final = 32 * 1024 * 1024
"""Of all code at hand: hundreds of tasks. The rest is in the database, where agents fetch it from."""
MAX_SHARE: Final = 16
"""A code of more than this part of it would push out too many others, and is fetched."""


class CodeShelf:
    """Code blobs by digest, as many as fit."""

    def __init__(self, size: int = CODE_BYTES) -> None:
        """Keep so many bytes."""
        self._size = size
        self._codes: dict[bytes, bytes] = {}  # the oldest first
        self._bytes = 0

    def keep(self, digest: bytes, data: bytes) -> None:
        """Keep a code blob, if it is not too large."""
        if digest in self._codes or len(data) > self._size // MAX_SHARE:
            return
        self._codes[digest] = data
        self._bytes += len(data)
        while self._bytes > self._size:
            self._bytes -= len(self._codes.pop(next(iter(self._codes))))

    def get(self, digest: bytes) -> bytes:
        """Return a code blob; empty when agents must fetch it."""
        return self._codes.get(digest, b"")
