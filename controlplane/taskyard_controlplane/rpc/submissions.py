"""Checks of unary submissions, before the owner sees them. Pure.

Invariant: what passes is well formed; whether it is acceptable (ids, upstream runs) is for the owner to say.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_contract.errors import DigestMismatch, InvalidRequest, PayloadTooLarge
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import RunKind
from taskyard_controlplane.settings import RpcSettings

MAX_RUNS: Final = 1_000
DIGEST_BYTES: Final = 32


def check_new_runs(runs: Sequence[run_service_pb2.NewRun], settings: RpcSettings) -> None:
    """Check the shape of submitted runs.

    Raises:
        InvalidRequest: A field is missing or malformed; the message says of which run.
        PayloadTooLarge: Arguments are too large to be inline.
    """
    if len(runs) > MAX_RUNS:
        raise InvalidRequest(
            f"the request has {len(runs)} runs; send at most {MAX_RUNS} at once", limit=MAX_RUNS
        )
    seen: set[bytes] = set()
    for position, run in enumerate(runs):
        _check_run(run, f"runs[{position}]", settings)
        if run.run_id in seen:
            raise InvalidRequest(f"runs[{position}].run_id is in the request twice", run_id=run.run_id)
        seen.add(run.run_id)


def _check_run(run: run_service_pb2.NewRun, where: str, settings: RpcSettings) -> None:
    if len(run.run_id) != ID_BYTES:
        raise InvalidRequest(f"{where}.run_id has {len(run.run_id)} bytes; a run id has {ID_BYTES}")
    template = run.template
    if int(template.kind) != RunKind.TASK:
        raise InvalidRequest(
            f"{where}.template.kind must be RUN_KIND_TASK; flow runs belong to a session", run_id=run.run_id
        )
    if not template.name:
        raise InvalidRequest(f"{where}.template.name is empty", run_id=run.run_id)
    if not template.HasField("code") or template.code.WhichOneof("location") is None:
        raise InvalidRequest(f"{where}.template.code says nowhere where the code is", run_id=run.run_id)
    if len(run.args.data) > settings.max_inline_bytes:
        raise PayloadTooLarge(
            f"{where}.args has {len(run.args.data)} bytes, inline are at most {settings.max_inline_bytes}; "
            "upload them as a blob",
            run_id=run.run_id,
            limit=settings.max_inline_bytes,
        )
    for edge in run.upstream:
        if len(edge.run_id) != ID_BYTES or not edge.kind:
            raise InvalidRequest(f"{where}.upstream needs a run id and a kind", run_id=run.run_id)


def check_blobs(blobs: Sequence[common_pb2.InlineBlob], settings: RpcSettings) -> None:
    """Check the content of blobs that came with a request. Hashing takes a while: call it on a thread.

    Raises:
        InvalidRequest: A digest is malformed.
        DigestMismatch: The content has another digest.
        PayloadTooLarge: A blob is too large.
    """
    for position, blob in enumerate(blobs):
        check_digest(blob.digest, f"blobs[{position}].digest")
        check_size(len(blob.data), settings)
        if hashlib.sha256(blob.data).digest() != blob.digest:
            raise DigestMismatch(f"blobs[{position}] does not have the digest it was sent under; repeat once")


def check_digest(digest: bytes, field: str) -> bytes:
    """Return a digest.

    Raises:
        InvalidRequest: It is not a SHA-256.
    """
    if len(digest) != DIGEST_BYTES:
        raise InvalidRequest(f"{field} has {len(digest)} bytes; a SHA-256 has {DIGEST_BYTES}")
    return digest


def check_size(size: int, settings: RpcSettings) -> None:
    """Check the size of a blob.

    Raises:
        PayloadTooLarge: It is above the limit.
    """
    if size > settings.max_payload_bytes:
        raise PayloadTooLarge(
            f"the blob has {size} bytes, at most {settings.max_payload_bytes} are stored; "
            "keep the data elsewhere and pass a reference",
            limit=settings.max_payload_bytes,
        )
