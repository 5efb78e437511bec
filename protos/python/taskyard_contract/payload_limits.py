"""How large payloads may be, until a server's welcome says what it has been told."""

from typing import Final

MAX_INLINE_BYTES: Final = 64 * 1024
"""Larger ones travel as blobs of their own, or they would delay the runs that share their frame."""
MAX_PAYLOAD_BYTES: Final = 128 * 1024 * 1024
"""The largest of all; a blob is one value in the database and in memory."""
