"""Whether a store has what was stored, found out before somebody is told that it has."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.blobs.directory import DirectoryStore
from taskyard_controlplane.blobs.intact import Intact
from taskyard_controlplane.blobs.memory import MemoryStore

DATA = b"what was stored" * 100_000
REF = common_pb2.BlobRef(
    name="run-" + "0a" * 16 + "-" + "0" * 15 + "1", size=len(DATA), checksum=xxhash.xxh3_64_intdigest(DATA)
)


def put(store: DirectoryStore | MemoryStore) -> None:
    incoming = store.receive(REF)
    incoming.write(DATA)
    incoming.finish()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    store.open("the database")
    put(store)
    return store


def file_of(store: DirectoryStore) -> Path:
    [path] = Path(store.url).rglob(REF.name)
    return path


def flip(path: Path) -> None:
    path.write_bytes(b"W" + DATA[1:])


def cut(path: Path) -> None:
    os.truncate(path, 10)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_what_is_gone_or_damaged_is_not_intact(store: DirectoryStore, damage: Callable[[Path], None]) -> None:
    damage(file_of(store))
    assert not Intact(store)(REF)


def test_what_is_there_is_read_once(store: DirectoryStore) -> None:
    intact = Intact(store)
    assert intact(REF)
    flip(file_of(store))
    assert intact(REF), "it was read again"
    file_of(store).unlink()
    assert not intact(REF)


def test_of_what_is_far_away_only_the_size_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    put(store)
    monkeypatch.setattr(store, "read", None)
    assert Intact(store)(REF)
    assert not Intact(store)(common_pb2.BlobRef(name=REF.name, size=7, checksum=REF.checksum))


def test_nobody_executes_again_because_a_store_does_not_answer(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(names: object) -> set[str]:
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(store, "missing", away)
    assert Intact(store)(REF)
