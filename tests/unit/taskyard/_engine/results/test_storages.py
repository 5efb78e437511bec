"""Storages: directories, object storage, objects of the user's; and which one an option means."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from taskyard._engine.results import storages
from taskyard._engine.results.choosing import checked_storage, storage_of
from taskyard._engine.results.saved_blocks import BlockStorage
from taskyard._engine.results.storages import DirectoryStorage, ObjectStorage, OwnStorage, Storage
from taskyard.exceptions import ConfigurationError, ResultStorageError


class Block:
    """What a program has that reads and writes paths."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def read_path(self, path: str) -> bytes:
        if path not in self.kept:
            raise FileNotFoundError(path)
        return self.kept[path]

    def write_path(self, path: str, content: bytes) -> None:
        self.kept[path] = content


class AsyncBlock(Block):
    async def read_path(self, path: str) -> bytes:  # type: ignore[override]
        return super().read_path(path)

    async def write_path(self, path: str, content: bytes) -> None:  # type: ignore[override]
        super().write_path(path, content)


@pytest.fixture(params=["directory", "objects", "own", "own async"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "directory":
        return DirectoryStorage(str(tmp_path / "new"))
    if request.param == "objects":
        (tmp_path / "bucket").mkdir()
        return ObjectStorage((tmp_path / "bucket").as_uri())
    return OwnStorage(Block() if request.param == "own" else AsyncBlock())


def test_row_23_what_is_written_is_read(storage: Storage) -> None:
    storage.write("a/b", b"first")
    storage.write("a/b", b"x" * 100_000)
    assert storage.read("a/b") == b"x" * 100_000
    assert storage.head("a/b")[: storages.HEAD_BYTES] == b"x" * storages.HEAD_BYTES
    storage.write("small", b"s")
    assert storage.head("small") == b"s"


def test_row_23_what_is_not_there_is_said_in_one_way(storage: Storage) -> None:
    for read in (storage.read, storage.head):
        with pytest.raises(FileNotFoundError, match="missing"):
            read("missing")


def test_row_23_coroutines_are_awaited_where_a_loop_runs() -> None:
    async def inside() -> bytes:
        storage = OwnStorage(AsyncBlock())
        storage.write("a", b"1")
        return storage.read("a")

    assert asyncio.run(inside()) == b"1"


def test_a_directory_holds_whole_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = DirectoryStorage(str(tmp_path))
    storage.write("a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultStorageError, match=f"could not be written at {tmp_path}/a: .*No space left"):
        storage.write("a", b"new")
    assert storage.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("key", ["../a", "/etc/x", "a/../../b", "", "a\0b"])
def test_a_key_never_leaves_its_directory(tmp_path: Path, key: str) -> None:
    with pytest.raises(ResultStorageError, match="is no path inside of"):
        DirectoryStorage(str(tmp_path / "in")).write(key, b"")
    assert os.listdir(tmp_path) == []


def test_what_an_object_raises_is_said_with_the_place() -> None:
    class Broken(Block):
        def write_path(self, path: str, content: bytes) -> None:
            raise KeyError("no such bucket")

    with pytest.raises(ResultStorageError, match=r"at 'k' in .*Broken.*KeyError: 'no such bucket'"):
        OwnStorage(Broken()).write("k", b"")


def test_row_23_options_are_paths_urls_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = Block()
    assert checked_storage(None) is None
    assert checked_storage("./a/b") == checked_storage(Path("a/b")) == f"{tmp_path}/a/b"
    assert checked_storage(f"file://{tmp_path}/a%20b") == f"{tmp_path}/a b"
    assert checked_storage("s3://bucket/prefix") == "s3://bucket/prefix"
    assert checked_storage(block) is block
    assert checked_storage("local-file-system/results") == "local-file-system/results"
    assert storage_of("local-file-system/results") == BlockStorage("local-file-system/results")
    assert storage_of(checked_storage("~/x")) == DirectoryStorage(os.path.expanduser("~/x"))
    assert storage_of("s3://bucket") == ObjectStorage("s3://bucket")
    assert storage_of(block) == OwnStorage(block) != OwnStorage(Block())


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("ftp://host/x", ConfigurationError, "has the scheme 'ftp', which is no storage; known are file, s3"),
        ("file://other/x", ConfigurationError, "names another machine"),
        ("", TypeError, "must be a path or a URL"),
        (5, TypeError, "or an object with read_path and write_path, got 5"),
        (Block, TypeError, "or an object with read_path and write_path"),
    ],
)
def test_row_23_what_is_no_storage_is_refused(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        checked_storage(given)


def test_row_23_object_storage_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._engine.results.choosing.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'taskyard\[objects\]'"):
        checked_storage("s3://bucket")
