"""What a program writes down of its world, agents of its user on its machine read, and nobody else."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard_contract.world import facts
from taskyard_contract.world.facts import MainFacts, WorldFacts


def world(**changes: object) -> WorldFacts:
    known = WorldFacts(
        executable=sys.executable,
        version=facts.own_version(),
        prefix=sys.prefix,
        flags=["-X", "dev"],
        path=["", "/lib", "relative"],
        library_path=facts.library_path(),
        directory="/",
        variables={"PLAIN": "x"},
        arguments=["main.py"],
        main=MainFacts("main.py", None, "app.main", "About it."),
        modules={"by_path": "/somewhere/by_path.py", "above": ""},
        machine=facts.this_machine(),
        pid=os.getpid(),
        started=facts.started_at(os.getpid()),
    )
    return known._replace(**changes)  # type: ignore[arg-type]  # as the fields are


def path_in(directory: Path) -> Path:
    return facts.file_of(directory / "worlds", b"\x01" * 16, 3)


def test_all_comes_back_bytes_that_are_no_text_among_it(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe=\n'\"\\")
    written = world(
        variables={"ODD": odd, "ü": "é", "EMPTY": ""}, directory="/tmp/" + odd, arguments=[odd], path=[odd]
    )
    facts.write(path_in(tmp_path), written)
    assert facts.read(path_in(tmp_path)) == written
    assert os.fsencode(facts.read(path_in(tmp_path)).variables["ODD"]) == b"\xff\xfe=\n'\"\\"


def test_only_its_user_can_read_it_and_no_draft_is_left(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        facts.write(path_in(tmp_path), world())
    finally:
        os.umask(before)
    path = path_in(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    path.mkdir(parents=True)
    with pytest.raises(OSError, match="irectory"):
        facts.write(path, world())
    assert list(path.parent.iterdir()) == [path]


def test_a_later_state_replaces_a_former_one_whole(tmp_path: Path) -> None:
    facts.write(path_in(tmp_path), world(variables={"A": "1" * 100_000}))
    facts.write(path_in(tmp_path), world(variables={"A": "2"}))
    assert facts.read(path_in(tmp_path)).variables == {"A": "2"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_file_of_another_user_is_refused(tmp_path: Path) -> None:
    facts.write(path_in(tmp_path), world())
    os.chown(path_in(tmp_path), 12345, -1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        facts.read(path_in(tmp_path))


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"format": 999}', '{"format": 1}', '{"format": 1, "main": {}}', "{"]
)
def test_what_is_no_description_of_this_release_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "world"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"another release|no description|Expecting"):
        facts.read(path)


def test_unknown_facts_are_of_another_release(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    facts.write(path, world())
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "later": 1}))
    with pytest.raises(ValueError, match="no description of a world"):
        facts.read(path)


def test_a_program_is_alive_until_it_has_ended_even_if_its_id_is_used_again() -> None:
    assert world().is_alive()
    assert not world(started="another time").is_alive()
    process = subprocess.Popen(["sleep", "60"])
    known = world(pid=process.pid, started=facts.started_at(process.pid))
    assert known.is_alive()
    process.kill()
    process.wait()
    assert not known.is_alive()


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    facts.write(path_in(tmp_path), world())
    facts.remove([tmp_path / "never", path_in(tmp_path)])
    assert not path_in(tmp_path).exists()


def test_the_library_is_found_where_this_process_has_it() -> None:
    found = facts.library_path()
    assert os.path.dirname(os.path.dirname(facts.__file__)).startswith(tuple(found))
    assert all(os.path.isabs(one) for one in found)


def test_paths_stay_as_they_are_without_a_directory(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    before = os.getcwd()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert facts.absolute("relative") == "relative"
        assert facts.absolute("/whole") == "/whole"
    finally:
        os.chdir(before)
