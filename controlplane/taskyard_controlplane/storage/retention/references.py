"""References to blobs, and the cache entries that have some."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, select, update

from taskyard_contract.blobs.names import digest_of
from taskyard_controlplane.storage.interface import BlobRefKind, BlobState
from taskyard_controlplane.storage.schema import blob, blob_ref, cache_entry, code_blob, code_blob_part

OF_A_RUN: Final = (int(BlobRefKind.ARGUMENTS), int(BlobRefKind.RESULT))
CACHE: Final = int(BlobRefKind.CACHE_ENTRY)
TEMPLATE: Final = int(BlobRefKind.TEMPLATE)


def remove_entries(connection: Connection, keys: Sequence[str]) -> int:
    """Remove cache entries, and their references to blobs."""
    if not keys:
        return 0
    these = cache_entry.c.cache_key.in_(keys)
    seqs = select(cache_entry.c.run_seq).where(these)
    drop_refs(
        connection,
        and_(blob_ref.c.kind == CACHE, blob_ref.c.holder.in_(seqs), blob_ref.c.cache_key.in_(keys)),
    )
    return connection.execute(delete(cache_entry).where(these)).rowcount


def drop_refs(connection: Connection, which: Any) -> None:
    """Remove references, and release what they referred to: whether anybody else does is looked at later."""
    names = select(blob_ref.c.name).where(which)
    connection.execute(
        update(blob)
        .where(blob.c.name.in_(names), blob.c.state == int(BlobState.KEPT))
        .values(state=int(BlobState.RELEASED))
    )
    connection.execute(delete(blob_ref).where(which))


def remove_code(connection: Connection, names: Sequence[str]) -> None:
    """Remove the code that the database itself holds under some names of blobs."""
    digests = list(filter(None, map(digest_of, names)))
    for table in (code_blob_part, code_blob):
        connection.execute(delete(table).where(table.c.digest.in_(digests)))
