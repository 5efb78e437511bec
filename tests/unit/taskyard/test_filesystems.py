"""File systems: what paths they take, and what they do with files and directories."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from taskyard._engine.results.storages import DirectoryStorage, ObjectStorage
from taskyard.blocks.core import Block
from taskyard.blocks.types import InvalidBlockRegistration, check_registrable
from taskyard.exceptions import ConfigurationError, NotSupported
from taskyard.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem


@pytest.fixture
def local(tmp_path: Path) -> LocalFileSystem:
    (tmp_path / "base").mkdir()
    return LocalFileSystem(basepath=str(tmp_path / "base"))


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteFileSystem:
    """One whose objects are files in a directory."""
    from obstore.store import LocalStore

    (tmp_path / "bucket").mkdir()
    store = LocalStore(tmp_path / "bucket")
    monkeypatch.setattr("taskyard.filesystems.remote.object_store", lambda *_: store)
    return RemoteFileSystem(basepath="s3://bucket/base")


def _tree(path: Path) -> list[str]:
    return sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())


def _made(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(b"1")
    (path / "sub" / "b").write_bytes(b"2")
    return path


def test_local_files_are_read_as_written(local: LocalFileSystem, tmp_path: Path) -> None:
    where = local.write_path("sub/file", b"first")
    assert where == str(tmp_path / "base/sub/file")
    local.write_path(where, b"second")
    assert local.read_path("sub/file") == local.read_path(where) == b"second"
    assert _tree(tmp_path) == ["base/sub/file"]


@pytest.mark.parametrize("wrong", ["../other", "sub/../../other", "/etc/passwd", "link/x", "~/x"])
def test_local_paths_outside_are_refused(local: LocalFileSystem, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "base/link").symlink_to(tmp_path)
    for call in (local.read_path, lambda path: local.write_path(path, b""), local.get_directory):
        with pytest.raises(ValueError, match=r"Provided path .* is outside of the base path"):
            call(wrong)
    with pytest.raises(ValueError, match="is outside of the base path"):
        local.put_directory(str(tmp_path / "base"), wrong)
    assert _tree(tmp_path) == []


def test_what_is_no_local_file_is_said(local: LocalFileSystem, tmp_path: Path) -> None:
    for kind in (ValueError, FileNotFoundError):
        with pytest.raises(kind, match="missing does not exist"):
            local.read_path("missing")
    (tmp_path / "base/sub").mkdir()
    with pytest.raises(ValueError, match="is not a file"):
        local.read_path("sub")
    with pytest.raises(ValueError, match="already exists and is not a file"):
        local.write_path("sub", b"")


def test_without_a_base_path_it_is_the_directory_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    LocalFileSystem().write_path("a", b"1")
    assert LocalFileSystem(basepath=Path(".")).read_path("a") == b"1"  # type: ignore[arg-type]  # cast, as in Prefect
    assert LocalFileSystem().as_storage() == DirectoryStorage(str(tmp_path))


def test_local_directories_are_copied(
    local: LocalFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(tmp_path / "here")
    local.put_directory(str(tmp_path / "here"), "there")
    local.put_directory(str(tmp_path / "here"), "there")
    assert _tree(tmp_path / "base") == ["there/a", "there/sub/b"]
    local.get_directory("there/sub", str(tmp_path / "back"))
    assert _tree(tmp_path / "back") == ["b"]
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    local.get_directory()
    assert _tree(tmp_path / "work") == ["there/a", "there/sub/b"]
    local.get_directory(None, str(tmp_path / "base"))  # itself
    with pytest.raises(ValueError, match="cannot be copied into itself"):
        local.put_directory(str(tmp_path), "there")
    with pytest.raises(ValueError, match="is not a directory"):
        local.get_directory("there/a")
    with pytest.raises(NotSupported, match="ignore_file='x' cannot be used"):
        local.put_directory(ignore_file="x")


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_in_a_loop_methods_are_awaited(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    files: Any = request.getfixturevalue(kind)
    _made(tmp_path / "here")

    async def use() -> list[bytes]:
        await files.write_path("a", b"1")
        await files.awrite_path("b", b"2")
        await files.put_directory(str(tmp_path / "here"), "c")
        await files.aput_directory(str(tmp_path / "here"), "d")
        await files.get_directory("c", str(tmp_path / "back"))
        await files.aget_directory("d/sub", str(tmp_path / "back/deep"))
        return [await files.read_path("a"), await files.aread_path("b"), await files.read_path("d/sub/b")]

    assert asyncio.run(use()) == [b"1", b"2", b"2"]
    assert _tree(tmp_path / "back") == ["a", "deep/b", "sub/b"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bucket/x", "must start with a scheme"),
        ("s3:///x", "must include a location after the scheme"),
        ("file://host/x", "cannot be 'file'. Use `LocalFileSystem` instead"),
        ("smb://host/x", "has the scheme 'smb', which is no storage; known are s3"),
    ],
)
def test_a_remote_base_path_has_a_form(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RemoteFileSystem(basepath=url)


def test_remote_files_are_read_as_written(remote: RemoteFileSystem, tmp_path: Path) -> None:
    assert remote.write_path("sub/file", b"1") == "s3://bucket/base/sub/file"
    remote.write_path("s3://bucket/base/sub/file", b"2")
    assert remote.read_path("sub/file") == remote.read_path("/sub/file") == b"2"
    with pytest.raises(FileNotFoundError, match="nothing at s3://bucket/base/missing"):
        remote.read_path("missing")
    with pytest.raises(ValueError, match="names no file"):
        remote.write_path("", b"")


@pytest.mark.parametrize("wrong", ["../x", "a/../../x", "s3://other/base/x", "s3://bucket/basement/x"])
def test_remote_paths_outside_are_refused(remote: RemoteFileSystem, wrong: str) -> None:
    with pytest.raises(ValueError, match="is outside of the base path 's3://bucket/base'"):
        remote.read_path(wrong)


def test_a_remote_path_has_the_scheme_of_the_base(remote: RemoteFileSystem) -> None:
    with pytest.raises(ValueError, match="scheme 'gs' must use the same scheme as the base path 's3'"):
        remote.read_path("gs://bucket/base/x")


def test_remote_directories_are_copied(remote: RemoteFileSystem, tmp_path: Path) -> None:
    here = _made(tmp_path / "here")
    assert remote.put_directory(str(here), "there") == 2
    (here / "new").write_bytes(b"3")
    (here / "a").write_bytes(b"changed")
    assert remote.put_directory(str(here), "there", overwrite=False) == 1
    assert remote.read_path("there/a") == b"1"
    remote.get_directory("there", str(tmp_path / "back"))
    assert _tree(tmp_path / "back") == ["a", "new", "sub/b"]
    remote.get_directory(local_path=str(tmp_path / "all"))
    assert _tree(tmp_path / "all") == ["there/a", "there/new", "there/sub/b"]
    with pytest.raises(ValueError, match="is not a directory"):
        remote.put_directory(str(here / "a"))
    with pytest.raises(NotSupported, match="ignore_file='x' cannot be used"):
        remote.put_directory(ignore_file="x")


def test_settings_reach_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    files = RemoteFileSystem(
        basepath="s3://bucket/x",
        settings={
            "key": "k",
            "secret": "s",
            "allow_http": True,
            "client_kwargs": {"endpoint_url": "http://a"},
        },
    )
    config = (
        ("access_key_id", "k"),
        ("allow_http", "true"),
        ("endpoint", "http://a"),
        ("secret_access_key", "s"),
    )
    assert files.as_storage() == ObjectStorage("s3://bucket/x", config)
    store = files._objects()
    assert store.config["endpoint"] == "http://a"
    assert store.client_options == {"allow_http": "true"}
    assert files._objects() is store
    monkeypatch.setattr("taskyard.filesystems.remote.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'taskyard\[objects\]'"):
        files.read_path("a")


def test_interfaces_are_no_types_of_blocks() -> None:
    with pytest.raises(InvalidBlockRegistration):
        check_registrable(WritableFileSystem, "save")
    with pytest.raises(TypeError, match="abstract"):
        WritableFileSystem()  # type: ignore[abstract]
    assert LocalFileSystem.get_block_type_slug() == "local-file-system"
    assert RemoteFileSystem.get_block_type_slug() == "remote-file-system"
    assert Block.get_block_class_from_key("local-file-system") is LocalFileSystem


def test_no_half_of_a_file_is_left(
    local: LocalFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.write_path("a", b"old")

    def fails(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no"):
        local.write_path("a", b"new")
    assert local.read_path("a") == b"old"
    assert _tree(tmp_path) == ["base/a"]


def test_files_are_for_whom_the_umask_says_and_stay_so(local: LocalFileSystem, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"1")
    local.write_path("a", b"1")
    file = tmp_path / "base/a"
    assert file.stat().st_mode == (tmp_path / "plain").stat().st_mode
    file.chmod(0o640)
    local.write_path("a", b"2")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_base_path_that_is_not_there_becomes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no file"):
        LocalFileSystem(basepath=str(tmp_path / "later")).write_path("", b"1")
    assert not (tmp_path / "later").exists()


def test_copied_directories_follow_no_links_out_of_the_base_path(
    local: LocalFileSystem, tmp_path: Path
) -> None:
    _made(tmp_path / "here")
    _made(tmp_path / "base/inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/a").write_bytes(b"secret")
    (tmp_path / "base/inside/file").symlink_to(tmp_path / "secret/a")
    with pytest.raises(ValueError, match=r"inside/file leads to .*secret/a, outside of the base path"):
        local.get_directory("inside", str(tmp_path / "back"))
    (tmp_path / "base/inside/file").unlink()
    (tmp_path / "base/other").mkdir()
    (tmp_path / "base/other/deep").symlink_to(tmp_path / "secret")
    (tmp_path / "base/inside/sub/c").symlink_to(tmp_path / "base/other")
    with pytest.raises(ValueError, match=r"other/deep leads to .*secret, outside of the base path"):
        local.get_directory("inside", str(tmp_path / "back"))
    (tmp_path / "base/there").mkdir()
    (tmp_path / "base/there/a").symlink_to(tmp_path / "secret/a")
    with pytest.raises(ValueError, match=r"there/a leads to .*secret/a, outside of the base path"):
        local.put_directory(str(tmp_path / "here"), "there")
    assert (tmp_path / "secret/a").read_bytes() == b"secret"
    assert not (tmp_path / "back").exists()


def test_a_directory_with_itself_inside_is_not_copied(local: LocalFileSystem, tmp_path: Path) -> None:
    _made(tmp_path / "here")
    (tmp_path / "here/sub/up").symlink_to(tmp_path / "here")
    with pytest.raises(ValueError, match=r"sub/up leads back to .*here, which it is in"):
        local.put_directory(str(tmp_path / "here"), "there")
    assert not (tmp_path / "base/there").exists()


def test_what_is_needed_to_get_there_is_not_shown() -> None:
    files = RemoteFileSystem(basepath="s3://bucket/a", settings={"key": "k", "secret": "hush"})
    storage = files.as_storage()
    assert isinstance(storage, ObjectStorage)
    assert ("secret_access_key", "hush") in storage.config
    assert "hush" not in f"{files!r} {files} {storage!r}"
