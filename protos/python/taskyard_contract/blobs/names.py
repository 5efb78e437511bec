"""Names of blobs, as messages, object stores and directories have them. Pure.

A name says where the bytes come from: `sha256-` and `b3-` go on with a hash of the content, `run-` with the
run and the epoch that returned it, `inputs-` with those that it is for. Whoever stores bytes under a hash
that somebody told him computes it himself; what a run returned may only be named by a report of that run and
epoch, and its inputs are put together by the control plane alone.
"""

import re
import zlib
from collections.abc import Iterable
from typing import Final

import xxhash
from blake3 import blake3

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import InvalidRequest

SHA256: Final = "sha256-"
CONTENT: Final = "b3-"
RESULT: Final = "run-"
INPUTS: Final = "inputs-"
SHA256_BYTES: Final = 32
_NAME: Final = re.compile(r"(?:sha256-[0-9a-f]{64}|b3-[0-9a-f]{64}|(?:run|inputs)-[0-9a-f]{32}-[0-9a-f]{16})")


def sha256_name(digest: bytes) -> str:
    """Name a blob by the SHA-256 of its content."""
    return SHA256 + digest.hex()


def digest_of(name: str) -> bytes:
    """Return the SHA-256 that a name says; empty when it says something else."""
    return bytes.fromhex(name.removeprefix(SHA256)) if name.startswith(SHA256) else b""


def result_name(run_id: bytes, epoch: int) -> str:
    """Name what a run returned under an epoch."""
    return f"{RESULT}{run_id.hex()}-{epoch:016x}"


def inputs_name(run_id: bytes, epoch: int) -> str:
    """Name what a run gets from many others, for the attempt of an epoch."""
    return f"{INPUTS}{run_id.hex()}-{epoch:016x}"


def content_name(pieces: Iterable[bytes | memoryview]) -> str:
    """Name a blob by the BLAKE3 hash of its content."""
    seen = blake3()
    for piece in pieces:
        seen.update(piece)
    return CONTENT + seen.hexdigest()


def checksum_of(pieces: Iterable[bytes | memoryview]) -> int:
    """Return the XXH3 (64 bits) of a content."""
    seen = xxhash.xxh3_64()
    for piece in pieces:
        seen.update(piece)
    return seen.intdigest()


def name_of(ref: common_pb2.BlobRef) -> str:
    """Return the name of a blob, which older messages say by its digest."""
    return ref.name or sha256_name(ref.digest)


def is_result(name: str) -> bool:
    """Whether a name says nothing about the content."""
    return name.startswith(RESULT)


def is_inputs(name: str) -> bool:
    """Whether a name is that of a run's inputs, which go with its attempt and can be had once more."""
    return name.startswith(INPUTS)


def run_of(name: str) -> bytes:
    """Return the run whose result has a name, for which `is_result`."""
    return bytes.fromhex(name.removeprefix(RESULT).partition("-")[0])


def is_stored_as(name: str) -> bool:
    """Whether what a store lists under a name is of ours: a blob, or what was never finished of one."""
    return name.startswith(".") or _NAME.fullmatch(name) is not None


def may_name_result(ref: common_pb2.BlobRef, run_id: bytes, epoch: int | None) -> bool:
    """Whether a report may name a blob: by its run and epoch, whatever that is if None, or by its content."""
    if not ref.name:
        return len(ref.digest) == SHA256_BYTES
    if _NAME.fullmatch(ref.name) is None or is_inputs(ref.name):
        return False
    if not is_result(ref.name):
        return True
    if epoch is None:
        return ref.name.startswith(f"{RESULT}{run_id.hex()}-")
    return ref.name == result_name(run_id, epoch)


def check_blob_name(name: str, field: str) -> str:
    """Return a name, if it is one.

    Raises:
        InvalidRequest: It is not: it could be a path.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"{field} is {name[:128]!r}, which is no name of a blob; see BlobRef in the contract", field=field
        )
    return name


def check_stored_name(name: str, field: str) -> str:
    """Return a name, if it is one under which somebody else than the control plane may store a blob.

    Raises:
        InvalidRequest: It is not.
    """
    if is_inputs(check_blob_name(name, field)):
        raise InvalidRequest(
            f"{field} is {name}: inputs of runs are stored by the control plane and nobody else", field=field
        )
    return name


def subdirectory(name: str) -> str:
    """Return the subdirectory in which a store keeps a blob, one of 256."""
    return f"{zlib.crc32(name.encode()) & 0xFF:02x}"
