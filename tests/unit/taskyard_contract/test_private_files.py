"""Files and directories for one user alone, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard_contract.programs import private_files
from taskyard_contract.programs.home_directory import HomeUnusable, make_home
from taskyard_contract.programs.private_files import (
    NotOurs,
    be_private,
    close_to_others,
    make_directory,
    opener,
    umask_of_users,
)


@pytest.fixture(params=[0, 0o022, 0o777], ids=["0", "022", "777"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_directories_are_made_closed_with_those_above_them(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]


@pytest.mark.usefixtures("umask")
def test_files_are_made_closed(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w", opener=opener):
        assert mode(tmp_path / "file") == 0o600


def test_a_file_that_others_could_read_is_closed_when_it_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o644)
    with open(file, "ab", opener=opener):
        assert mode(file) == 0o600


def test_what_is_open_is_closed_and_nothing_else_changes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for before, after in ((0o666, 0o600), (0o755, 0o700), (0o400, 0o400)):
        file.chmod(before)
        close_to_others(file)
        assert mode(file) == after


def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(NotOurs, match="belongs to another user"):
        close_to_others(tmp_path)
    with pytest.raises(HomeUnusable, match=r"belongs to another user .*; set TASKYARD_HOME"):
        make_home(tmp_path)


def test_a_directory_for_everybody_is_no_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(HomeUnusable, match="is a directory for everybody"):
        make_home(tmp_path)
    assert mode(tmp_path) == 0o1777


def test_a_home_that_others_can_read_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_home(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_program_remembers_the_umask_of_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "_of_users", private_files.UNCHANGED)
    before = os.umask(0o022)
    try:
        be_private()
        be_private()
        (tmp_path / "file").touch()
        assert (mode(tmp_path / "file"), umask_of_users()) == (0o600, 0o022)
    finally:
        os.umask(before)


def test_a_directory_that_another_makes_at_the_same_moment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Path.is_dir

    def made_after_the_look(path: Path) -> bool:
        found = looked(path)
        if path.name == "home" and not found:
            os.mkdir(path)
        return found

    monkeypatch.setattr(Path, "is_dir", made_after_the_look)
    make_directory(tmp_path / "home" / "worlds")
    assert looked(tmp_path / "home" / "worlds")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match=r"'.*file'"):
            make_directory(path)
