"""Which blobs payloads name, as rows.

A blob stays in the store for as long as a run, a cache entry or a template refers to it. References are
written in the commit that accepts what refers: so what is refused leaves none behind, and a blob is never
removed under somebody who was told that it is kept. Nothing is looked for where nothing is named: payloads
that are inline, which is nearly all there is, never come here.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from taskyard_api.v1 import common_pb2, failure_pb2, session_service_pb2, template_pb2
from taskyard_contract.blobs.names import SHA256_BYTES, name_of
from taskyard_controlplane.storage.interface import BlobRefKind, WriteBatch

LARGEST: Final = (1 << 63) - 1
"""What a BIGINT holds."""


def blobs_of(payload: common_pb2.Payload) -> Iterator[common_pb2.BlobRef]:
    """Iterate over the blobs that a payload refers to."""
    if payload.HasField("blob"):
        yield payload.blob
    yield from payload.values


def blobs_of_label(label: bytes) -> Iterator[common_pb2.BlobRef]:
    """Iterate over the blobs that arguments refer to, by what is kept beside their bytes."""
    return blobs_of(common_pb2.Payload.FromString(label))


def blobs_of_failure(failure: failure_pb2.Failure) -> Iterator[common_pb2.BlobRef]:
    """Iterate over the blobs that a failure and its causes refer to."""
    while True:
        if failure.HasField("encoded"):
            yield from blobs_of(failure.encoded)
        if not failure.HasField("cause"):
            return
        failure = failure.cause


def blobs_of_outcome(outcome: bytes) -> Iterator[common_pb2.BlobRef]:
    """Iterate over the blobs that the end of a run refers to."""
    message = session_service_pb2.RunOutcome.FromString(outcome)
    if message.HasField("result"):
        yield from blobs_of(message.result)
    if message.HasField("failure"):
        yield from blobs_of_failure(message.failure)


def blobs_of_template(definition: bytes) -> Iterator[common_pb2.BlobRef]:
    """Iterate over the blobs with the code that a template names.

    Small code comes inside of other messages and is in the database, so there may be no such blob.
    """
    message = template_pb2.RunTemplate.FromString(definition)
    code, world = message.code, message.world
    for digest, size in ((code.blob_digest, 0), (world.bundle_digest, world.bundle_bytes)):
        if len(digest) == SHA256_BYTES:
            yield common_pb2.BlobRef(digest=digest, size=size)


def add_refs(
    rows: WriteBatch,
    kind: BlobRefKind,
    holder: int,
    blobs: Iterable[common_pb2.BlobRef],
    now_us: int,
    cache_key: str | None = None,
) -> list[str]:
    """Put rows for blobs into a batch, and that something refers to them; returns their names.

    Args:
        rows: The batch.
        kind: What refers to them.
        holder: Its number: that of a run, also for the cache entry that it fills, or of a template.
        blobs: What it refers to.
        now_us: The time.
        cache_key: That of the entry.
    """
    names = []
    for ref in blobs:
        name = name_of(ref)
        if not rows.blobs_named or rows.blobs_named[-1][0] != name:  # children of a map name the same one
            rows.blobs_named.append((name, min(ref.size, LARGEST), _signed(ref.checksum), now_us))
        rows.blob_refs.append((int(kind), holder, name, cache_key))
        names.append(name)
    return names


def _signed(checksum: int) -> int:
    return checksum - (1 << 64) if checksum > LARGEST else checksum
