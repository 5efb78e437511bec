"""The agent's directory of blobs stays within its capacity, and nobody's work is taken from them."""

import os
from pathlib import Path

import pytest

from taskyard_agent.holding.blob_store import BlobStore

SIZE = 1000


def store(path: Path, capacity: int) -> BlobStore:
    return BlobStore(path, lambda: "127.0.0.1:1", capacity)


def put(blobs: BlobStore, digest: bytes, used_at: float) -> None:
    blobs.path(digest).write_bytes(b"x" * SIZE)
    os.utime(blobs.path(digest), (used_at, used_at))


def part(blobs: BlobStore, digest: bytes, pid: int) -> Path:
    path = blobs.path(digest)
    unfinished = path.with_name(f"{path.name}.{pid}.part")
    unfinished.write_bytes(b"x" * SIZE)
    return unfinished


@pytest.fixture
def digests() -> list[bytes]:
    return [bytes([number]) * 32 for number in range(4)]


def test_what_was_not_used_for_longest_is_removed_first(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 2 * SIZE)
    for used_at, digest in enumerate(digests):
        put(blobs, digest, used_at)
    blobs.in_use = lambda: digests[:1]
    blobs.make_room()
    assert [blobs.has([digest]) for digest in digests] == [True, False, False, True]


def test_what_a_killed_worker_was_writing_takes_no_room(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 2 * SIZE)
    for used_at, digest in enumerate(digests[:2]):
        put(blobs, digest, used_at)
    abandoned = part(blobs, digests[2], 7)
    blobs.make_room()
    assert not abandoned.exists()
    assert blobs.has(digests[:2]), "complete blobs were removed in its stead"


def test_what_is_being_written_stays(tmp_path: Path, digests: list[bytes]) -> None:
    blobs = store(tmp_path, 0)
    blobs.writers = lambda: [7]
    unfinished = [part(blobs, digests[0], 7), part(blobs, digests[1], os.getpid())]
    blobs.make_room()
    assert all(path.exists() for path in unfinished)


def test_nothing_unfinished_is_left_of_an_earlier_agent(tmp_path: Path, digests: list[bytes]) -> None:
    abandoned = part(store(tmp_path, SIZE), digests[0], os.getpid())
    store(tmp_path, SIZE)
    assert not abandoned.exists()
