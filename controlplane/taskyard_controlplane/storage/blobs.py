"""Blobs of code, and those of before there was a blob store: in parts, so that no statement and no reader
ever holds a large one whole.

Invariant: a blob's row is written in the same transaction as all of its parts.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from taskyard_controlplane.storage.lookups import Lookup
from taskyard_controlplane.storage.schema import code_blob, code_blob_part

_DIGESTS: Final = Lookup(select(code_blob.c.digest), code_blob.c.digest)
PART_SIZE: Final = 1 << 20
"""The size of all parts but the last, in bytes: what a reader holds, and a download sends, at a time."""


def store_blob(connection: Connection, digest: bytes, data: bytes) -> None:
    """Write a blob, unless it is stored already; the caller commits."""
    if blob_size(connection, digest) is not None:
        return
    connection.execute(insert(code_blob).values(digest=digest, size=len(data)))
    view = memoryview(data)
    for part, start in enumerate(range(0, len(data), PART_SIZE)):
        content: Any = bytes(view[start : start + PART_SIZE])
        connection.execute(insert(code_blob_part).values(digest=digest, part=part, data=content))


def blob_size(connection: Connection, digest: bytes) -> int | None:
    return connection.execute(select(code_blob.c.size).where(code_blob.c.digest == digest)).scalar()


def missing_blobs(connection: Connection, digests: Sequence[bytes]) -> list[bytes]:
    """Return those digests that are not stored, in the order given."""
    stored = {digest for (digest,) in _DIGESTS.rows(connection, digests)}
    return [digest for digest in digests if digest not in stored]


def part_numbers(size: int) -> Iterator[int]:
    """Iterate over the numbers of the parts of a blob."""
    return iter(range((size + PART_SIZE - 1) // PART_SIZE))


def blob_part_data(connection: Connection, digest: bytes, part: int) -> bytes | None:
    """Return one part's bytes, at most 1 MiB."""
    query = select(code_blob_part.c.data).where(
        code_blob_part.c.digest == digest, code_blob_part.c.part == part
    )
    return connection.execute(query).scalar()
