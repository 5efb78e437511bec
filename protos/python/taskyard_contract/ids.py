"""Ids: 16 raw bytes in the hot path, UUID text for people. Pure."""

from typing import Final
from uuid import UUID

ID_BYTES: Final = 16


def format_id(raw: bytes) -> str:
    """Return the UUID text of an id, for people; the empty string for no id."""
    return str(UUID(bytes=raw)) if raw else ""


def parse_id(text: str) -> bytes:
    """Return the raw bytes of an id given as UUID text, with or without dashes.

    Raises:
        ValueError: The text is not a UUID.
    """
    try:
        return UUID(text).bytes
    except ValueError:
        raise ValueError(f"'{text}' is not a run id; expected 32 hexadecimal digits") from None


def shard_of(raw: bytes) -> int:
    """Return the logical shard written in the last two bytes of an id."""
    return (raw[14] << 8) | raw[15]


def split_ids(joined: bytes) -> list[bytes]:
    """Cut concatenated ids apart."""
    return [joined[start : start + ID_BYTES] for start in range(0, len(joined), ID_BYTES)]
