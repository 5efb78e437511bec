"""Nobody else can read or write what a yard, a server and an agent keep, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import Stage

PROGRAM = """
from taskyard import flow, task

@task
def write(path, size):
    with open(path, "w") as file:
        file.write("x")
    return "y" * size

@flow
def writes(path):
    return len(write.submit(path, 200_000).result())

print(writes({path!r}))
"""


@pytest.fixture(params=[0, 0o022], ids=["0", "022"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(directory: Path) -> list[str]:
    """Return what others have rights on, in a directory and in itself."""
    found = [directory, *(path for path in directory.rglob("*") if path.suffix != ".py")]  # not the program
    return [f"{path} {stat.filemode(path.lstat().st_mode)}" for path in found if path.lstat().st_mode & 0o077]


def test_a_yard_keeps_everything_to_its_user(stage: Stage, umask: int, tmp_path: Path) -> None:
    stage.home.mkdir(exist_ok=True)
    stage.home.chmod(0o777)
    theirs = tmp_path / "theirs"
    done = stage.run_script(PROGRAM.format(path=str(theirs)))
    assert done.stdout == "200000\n", done.stderr
    names = {path.name for path in stage.home.rglob("*")}
    assert {"taskyard.db", "taskyard.db-wal", "taskyard.db.lock", "yard.sock", "yard.log"} <= names
    assert open_to_others(stage.home) == []
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o666 & ~umask, "a task's files are the task's business"


def test_a_server_keeps_its_database_to_its_user(stage: Stage, umask: int, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    old = kept / "runs.db"
    for name in ("runs.db", "runs.db.lock"):
        (kept / name).touch(0o666)
        (kept / name).chmod(0o666)
    server = stage.start("server", "start", "--listen", "127.0.0.1:0", "--database", f"sqlite:///{old}")
    server.line()
    assert {path.name for path in kept.iterdir()} >= {
        f"runs.db{end}" for end in ("", "-wal", "-shm", ".lock", ".identity")
    }
    assert [path for path in open_to_others(kept) if not path.startswith(f"{kept} ")] == []
    assert server.end() == 0
