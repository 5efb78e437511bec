"""Ids: 16 raw bytes in the hot path, UUID text for people. Pure."""

from typing import Final
from uuid import UUID

ID_BYTES: Final = 16
"""Ids are UUIDs."""


def format_id(raw: bytes) -> str:
    """Return the UUID text of an id, for people; the empty string for no id.

    What has another length is no id. It is shown as it is, because it is errors that name it.
    """
    return str(UUID(bytes=raw)) if len(raw) == ID_BYTES else raw[: 2 * ID_BYTES].hex()


def split_ids(joined: bytes) -> list[bytes]:
    """Return the ids of a column, which messages carry end to end without lengths."""
    return [joined[start : start + ID_BYTES] for start in range(0, len(joined), ID_BYTES)]
