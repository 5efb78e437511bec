"""What only a directory has: files that others map, those that a kill has left, and a disk that is full."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.blobs import directory
from taskyard_controlplane.blobs.interface import BlobStore

MIB = 1024 * 1024
HOUR_US = 3600 * 1_000_000


def ref_of(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name="b3-" + blake3(data).hexdigest(), size=len(data))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def here(path: Path, opened: Callable[..., BlobStore]) -> BlobStore:
    return opened(str(path))


def store_blob(store: BlobStore, data: bytes) -> str:
    incoming = store.receive(ref_of(data))
    incoming.write(data)
    incoming.finish()
    return ref_of(data).name


def left_behind(path: Path, data: bytes) -> None:
    """Leave what a program leaves that is killed while it writes."""
    with BlobDirectory(path).receiving(ref_of(data).name) as part:
        part.write_bytes(data)
    BlobDirectory(path).path(ref_of(data).name).rename(part)


def test_what_others_write_there_is_stored(here: BlobStore, path: Path) -> None:
    BlobDirectory(path).add(ref_of(b"data").name, [b"da", b"ta"], 4)
    assert b"".join(here.read(ref_of(b"data").name)) == b"data"
    assert [found.name for found in here.list()] == [ref_of(b"data").name]


def test_a_blob_that_is_about_to_be_used_is_no_orphan(here: BlobStore, path: Path) -> None:
    name = store_blob(here, b"data")
    old = time.time() - 7 * 24 * 3600
    os.utime(BlobDirectory(path).path(name), (old, old))
    assert next(iter(here.list())).modified_us < here.now_us() - 24 * HOUR_US
    assert here.missing([name]) == set()
    assert next(iter(here.list())).modified_us > here.now_us() - HOUR_US
    os.utime(BlobDirectory(path).path(name), (old, old))
    store_blob(here, b"data")
    assert next(iter(here.list())).modified_us > here.now_us() - HOUR_US


def test_a_blob_that_was_damaged_is_mended_by_the_next_upload(here: BlobStore, path: Path) -> None:
    name = store_blob(here, b"data")
    BlobDirectory(path).path(name).write_bytes(b"da")
    store_blob(here, b"data")
    assert b"".join(here.read(name)) == b"data"


def test_who_has_opened_a_file_keeps_it(here: BlobStore, path: Path) -> None:
    name = store_blob(here, b"data")
    with open(BlobDirectory(path).path(name), "rb") as file:
        store_blob(here, b"data")
        assert here.remove_unused(name, None)
        assert file.read() == b"data"


def test_what_a_kill_has_left_is_listed_and_can_be_removed(here: BlobStore, path: Path) -> None:
    left_behind(path, b"data")
    [left] = here.list()
    assert left.name not in (ref_of(b"data").name, "")
    assert here.size(ref_of(b"data").name) is None
    assert here.remove_unused(left.name, None)
    assert list(here.list()) == []


def test_a_kill_leaves_nothing_of_what_comes_through_the_store(here: BlobStore) -> None:
    incoming = here.receive(ref_of(b"data"))
    incoming.write(b"da")
    assert list(here.list()) == []  # as if this process were killed now
    incoming.write(b"ta")
    incoming.finish()
    assert [found.name for found in here.list()] == [ref_of(b"data").name]


@pytest.mark.parametrize("end", ["finish", "discard"])
def test_without_files_that_have_no_name_others_are_used(
    here: BlobStore, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_NAMELESS", 0)
    incoming = here.receive(ref_of(b"data"))
    incoming.write(b"data")
    [left] = here.list()
    assert left.name != ref_of(b"data").name
    getattr(incoming, end)()
    stored = [ref_of(b"data").name] if end == "finish" else []
    assert [found.name for found in here.list()] == stored


def test_all_are_listed_once_around_what_a_kill_has_left(here: BlobStore, path: Path) -> None:
    stored = {store_blob(here, bytes([number])) for number in range(20)}
    for number in range(20, 40):
        left_behind(path, bytes([number]))
    listed, name = list[str](), ""
    while found := next(here.list(name), None):  # a step at a time
        name = found.name
        listed.append(name)
    assert len(listed) == len(set(listed)) == 40
    assert stored < set(listed)


def test_a_directory_that_vanished_is_said(here: BlobStore, path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(StorageUnavailable, match="cannot be used"):
        store_blob(here, b"data")
    with pytest.raises(StorageUnavailable):
        here.free_bytes()


def test_only_this_user_can_look_into_it(here: BlobStore, path: Path) -> None:
    name = store_blob(here, b"data")
    assert path.stat().st_mode & 0o077 == 0
    assert BlobDirectory(path).path(name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("moment", ["before it is taken away", "after that"])
def test_content_that_somebody_stores_while_it_is_removed_is_there(
    here: BlobStore, path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    name = store_blob(here, b"data")
    file = BlobDirectory(path).path(name)
    os.utime(file, (1, 1))
    rename = Path.rename

    def renaming(self: Path, target: Path) -> Path:
        if moment.startswith("after"):
            rename(self, target)
        BlobDirectory(path).add(name, [b"data"], 4)
        return target if moment.startswith("after") else rename(self, target)

    monkeypatch.setattr(Path, "rename", renaming)
    gone = here.remove_unused(name, 2_000_000)
    assert gone == moment.startswith("after"), "that one is gone"
    assert b"".join(here.read(name)) == b"data"
    assert [found.name for found in here.list()] == [name]
