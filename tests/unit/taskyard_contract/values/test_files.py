"""Stored values are memory of whoever reads them, and what their names were said with."""

import gc
import mmap
import resource
from collections import OrderedDict
from pathlib import Path

import pytest

from taskyard_contract.blobs.names import checksum_of
from taskyard_contract.values import files
from taskyard_contract.values.files import MAPPED_BYTES, read_value
from taskyard_contract.values.layout import Damaged

LARGE = bytes(range(256)) * (MAPPED_BYTES // 256)
SMALL = LARGE[:-1]


def written(path: Path, data: bytes) -> Path:
    """Write a file under a name that this process has not read before."""
    file = path / path.name
    file.write_bytes(data)
    return file


def read(file: Path, data: bytes) -> memoryview:
    return read_value(file, len(data), checksum_of([data]))


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_verified", OrderedDict())


@pytest.mark.parametrize("data", [LARGE, SMALL, b""], ids=["mapped", "read", "empty"])
def test_memory_is_the_readers_own(tmp_path: Path, data: bytes) -> None:
    file = written(tmp_path, data)
    first, second = read(file, data), read(file, data)
    assert (first, second) == (data, data)
    assert not first.readonly
    if data:
        first[0] = 77
        assert second[0] == 0, "another reader of this process"
    assert file.read_bytes() == data, "and all others"


def test_large_files_are_mapped_and_small_ones_read(tmp_path: Path) -> None:
    for data, mapped in ((LARGE, True), (SMALL, False)):
        file = written(tmp_path, data)
        assert isinstance(read_value(file, len(data), None).obj, mmap.mmap) == mapped


def test_what_is_mapped_stays_when_the_file_is_removed(tmp_path: Path) -> None:
    file = written(tmp_path, LARGE)
    value = read(file, LARGE)
    file.unlink()
    assert value == LARGE


@pytest.mark.parametrize("data", [LARGE, SMALL], ids=["mapped", "read"])
def test_another_checksum_is_damage(tmp_path: Path, data: bytes) -> None:
    file = written(tmp_path, data[:-1] + b"!")
    for _ in range(2):
        with pytest.raises(Damaged, match=f"{file.name} does not have the checksum"):
            read(file, data)
    assert read_value(file, len(data), None)[-1:] == b"!", "nobody has said one"


def test_another_size_is_damage_whatever_was_verified(tmp_path: Path) -> None:
    file = written(tmp_path, LARGE)
    assert read(file, LARGE) == LARGE
    file.write_bytes(LARGE[:-7])
    with pytest.raises(Damaged, match="has 262,137 bytes, it was stored with 262,144"):
        read(file, LARGE)


def test_a_file_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, looked = written(tmp_path, LARGE), []
    monkeypatch.setattr(files, "verify", lambda name, *_: looked.append(name))
    for _ in range(3):
        read(file, LARGE)
    assert looked == [file.name]


def test_not_all_names_are_remembered_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_REMEMBERED", 2)
    for name in "abc":
        file = tmp_path / name
        file.write_bytes(SMALL)
        read(file, SMALL)
    assert list(files._verified) == ["b", "c"]


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing", LARGE)


def test_with_many_mappings_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    most = len(files._maps) + 2
    limits = most * files.SHARE_OF_DESCRIPTORS, resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    file = written(tmp_path, LARGE)
    values = [read(file, LARGE) for _ in range(4)]
    assert [isinstance(value.obj, mmap.mmap) for value in values] == [True, True, False, False]
    assert values == [LARGE] * 4
    del values[0]
    gc.collect()
    assert isinstance(read(file, LARGE).obj, mmap.mmap), "descriptors come back with the last view"


def test_where_nothing_can_be_mapped_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("too many")

    monkeypatch.setattr(files, "_Map", full)
    value = read(written(tmp_path, LARGE), LARGE)
    assert value == LARGE
    assert not value.readonly
