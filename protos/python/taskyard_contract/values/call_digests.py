"""What tells calls of a task apart: what they were submitted with.

The control plane makes these digests of what it has recorded, programs of what they are about to submit; so
neither has to send arguments to the other to find out whether a call was made before. Pure.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from taskyard_contract.values.written_alike import digest_of_pickle

DIGEST_BYTES: Final = 16
"""Two different calls of a flow run have the same one with a chance of less than one in 10^28."""


def call_digest(data: bytes, blobs: Iterable[str], edges: Iterable[tuple[bytes, int]]) -> bytes:
    """Return the digest of a call.

    Args:
        data: The arguments, as far as they travel inline: those of equal values are alike.
        blobs: Names of the blobs that the arguments refer to, or are in: made of what is in these.
        edges: Ids of the upstream runs, and what each is to the call (`UpstreamKind`); in any order.
    """
    digest = hashlib.sha256(digest_of_pickle(data))
    for name in sorted(set(blobs)):
        digest.update(b"b%d:" % len(name.encode()) + name.encode())
    for run_id, kind in sorted(edges):
        digest.update(b"e%d:" % kind + run_id)
    return digest.digest()[:DIGEST_BYTES]
