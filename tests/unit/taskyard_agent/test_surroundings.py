"""A worker is in the world of its program before it executes anything, and again before each chunk."""

import importlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.main_modules import worker

from taskyard_agent.runner.surroundings import NoWorld, Surroundings
from taskyard_api.v1 import template_pb2
from taskyard_contract.world import facts, inherited
from taskyard_contract.world.facts import MainFacts, WorldFacts
from taskyard_contract.world.script_names import SCRIPT


@pytest.fixture(autouse=True)
def _own_process(tmp_path: Path) -> Iterator[None]:
    """Give this process back what it had."""
    before = os.getcwd(), dict(os.environ), list(sys.path), list(sys.argv), list(sys.meta_path)
    limit, umask, drawn = sys.getrecursionlimit(), os.umask(0o077), random.getstate()
    os.umask(umask)
    known = inherited.world()
    with worker():
        yield
    os.chdir(before[0])
    os.environ.clear()
    os.environ.update(before[1])
    sys.path[:], sys.argv[:], sys.meta_path[:] = before[2:]
    sys.setrecursionlimit(limit)
    os.umask(umask)
    random.setstate(drawn)
    inherited._inherited.world, inherited._inherited.variables = known, {}


def message(python: str = "") -> bytes:
    return template_pb2.World(id=b"w" * 16, revision=1, python=python).SerializeToString()


def file_of(tmp_path: Path, **changes: object) -> str:
    known = WorldFacts(
        executable=sys.executable,
        version=facts.own_version(),
        prefix=sys.prefix,
        flags=[],
        path=[*sys.path, str(tmp_path / "lib")],
        library_path=[],
        directory=str(tmp_path),
        variables={**os.environ, "COLOUR": "red"},
        arguments=["main.py", "one"],
        main=MainFacts("/there/main.py", "app", "app.main", "About it."),
        modules={},
        machine=facts.this_machine(),
        pid=os.getpid(),
        started=facts.started_at(os.getpid()),
    )
    path = facts.file_of(tmp_path / "worlds", b"w" * 16, len(list(tmp_path.glob("worlds/*"))))
    facts.write(path, known._replace(**changes))  # type: ignore[arg-type]  # as the fields are
    return str(path)


def entered(file: str) -> Surroundings:
    made = Surroundings()
    made.announce(message(facts.own_version()), file)
    made.enter()
    return made


def test_all_is_as_in_the_program(tmp_path: Path) -> None:
    entered(file_of(tmp_path, options={"recursion_limit": 4321}, umask=0o027))
    main = sys.modules["__main__"]
    assert os.getcwd() == str(tmp_path)
    assert os.environ["COLOUR"] == "red"
    assert sys.argv == ["main.py", "one"]
    assert sys.path[-1] == str(tmp_path / "lib")
    assert sys.getrecursionlimit() == 4321
    assert (main.__file__, main.__package__, main.__doc__) == ("/there/main.py", "app", "About it.")
    assert main.__spec__ is not None
    assert main.__spec__.name == "app.main"


def test_a_worker_that_was_told_nothing_is_left_alone() -> None:
    before = os.getcwd(), dict(os.environ)
    Surroundings().enter()
    assert (os.getcwd(), dict(os.environ)) == before


def test_a_world_without_a_file_is_only_inherited() -> None:
    before = os.getcwd()
    entered("")
    assert os.getcwd() == before
    assert inherited.world() == message(facts.own_version())


def far_message(*variables: str) -> bytes:
    return template_pb2.World(id=b"w" * 16, revision=1, variables=variables).SerializeToString()


@pytest.mark.parametrize("is_sent", [True, False])
def test_what_a_program_elsewhere_hands_over_is_added_to_what_the_worker_has(
    tmp_path: Path, is_sent: bool
) -> None:
    os.environ["OWN"] = "stays"
    made = Surroundings()
    made.announce(far_message("REGION"), file_of(tmp_path, is_near=False, variables={}) if is_sent else "")
    made.enter({"REGION": "north", "NOT_NAMED": "x"})
    assert (os.environ["REGION"], os.environ["OWN"]) == ("north", "stays")
    assert "NOT_NAMED" not in os.environ
    assert inherited.variables() == {"REGION": "north"}
    del os.environ["REGION"]
    made.enter({"REGION": "north"})
    assert os.environ["REGION"] == "north"


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_variable_that_did_not_come_is_said_until_it_does(tmp_path: Path, is_sent: bool) -> None:
    made = Surroundings()
    made.announce(far_message("REGION"), file_of(tmp_path, is_near=False, variables={}) if is_sent else "")
    for _ in range(2):
        with pytest.raises(NoWorld, match="it needs the variable 'REGION' of its program"):
            made.enter({})
    made.enter({"REGION": "north"})
    assert os.environ["REGION"] == "north"


def test_a_variable_that_no_system_takes_is_said() -> None:
    made = Surroundings()
    made.announce(far_message("REGION"), "")
    with pytest.raises(NoWorld, match="environment cannot be entered"):
        made.enter({"REGION": "\x00"})


def test_here_a_program_need_hand_over_nothing(tmp_path: Path) -> None:
    made = Surroundings()
    made.announce(far_message("COLOUR"), file_of(tmp_path))
    made.enter()
    assert os.environ["COLOUR"] == "red"


def test_what_a_run_has_changed_is_put_back_before_the_next_chunk(tmp_path: Path) -> None:
    made = entered(file_of(tmp_path))
    os.chdir("/")
    os.environ["LEFT"] = "1"
    del os.environ["COLOUR"]
    sys.path.insert(0, "/left")
    made.enter()
    assert os.getcwd() == str(tmp_path)
    assert os.environ["COLOUR"] == "red"
    assert "LEFT" not in os.environ
    assert "/left" not in sys.path


def test_another_state_of_the_program_replaces_the_former_one(tmp_path: Path) -> None:
    made = entered(file_of(tmp_path))
    main = sys.modules["__main__"]
    (tmp_path / "below").mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "COLOUR"}
    made.announce(
        message(facts.own_version()),
        file_of(tmp_path, directory=str(tmp_path / "below"), variables=variables, arguments=["other"]),
    )
    made.enter()
    assert os.getcwd() == str(tmp_path / "below")
    assert "COLOUR" not in os.environ
    assert sys.argv == ["other"]
    assert sys.modules["__main__"] is main, "what came into it stays"


def test_the_server_is_the_one_of_the_agent(tmp_path: Path) -> None:
    os.environ["TASKYARD_SERVER"] = "unix:/of/the/agent"
    entered(file_of(tmp_path, variables={"TASKYARD_SERVER": "elsewhere:1"}))
    assert os.environ["TASKYARD_SERVER"] == "unix:/of/the/agent"


def test_modules_from_elsewhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("NAME = __name__")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from . import below")
    (tmp_path / "package" / "below.py").write_text("")
    modules = {
        "by_path_of_tests": str(tmp_path / "plain.py"),
        "package_of_tests": str(tmp_path / "package" / "__init__.py"),
        "only_above_of_tests": "",
        "only_above_of_tests.one": str(tmp_path / "plain.py"),
    }
    entered(file_of(tmp_path, modules=modules))
    try:
        for name in modules:
            assert __import__(name, fromlist=["x"]).__name__ == name
        assert sys.modules["by_path_of_tests"].NAME == "by_path_of_tests"
        assert sys.modules["package_of_tests"].below.__name__ == "package_of_tests.below"
    finally:
        for name in (*modules, "package_of_tests.below"):
            sys.modules.pop(name, None)


def test_a_script_is_executed_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    name, file = f"{SCRIPT}of_tests__", tmp_path / "etl.py"
    for number in range(2):
        file.write_text(f"NUMBER = {number}")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        entered(file_of(tmp_path, modules={name: str(file)}))
        try:
            assert vars(importlib.import_module(name))["NUMBER"] == number
        finally:
            sys.modules.pop(name, None)


def test_a_directory_that_is_not_there_is_said_each_time_until_it_is(tmp_path: Path) -> None:
    made = Surroundings()
    made.announce(message(), file_of(tmp_path, directory=str(tmp_path / "later")))
    for _ in range(2):
        with pytest.raises(NoWorld, match=f"'{tmp_path / 'later'}' cannot be entered"):
            made.enter()
    (tmp_path / "later").mkdir()
    made.enter()
    assert os.getcwd() == str(tmp_path / "later")


def test_a_directory_that_the_program_has_lost_is_no_directory(tmp_path: Path) -> None:
    made = entered(file_of(tmp_path, directory=""))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            os.getcwd()
        made.enter()


@pytest.mark.parametrize("python", ["cpython-2.7", "pypy-3.11"])
def test_the_code_of_another_python_is_refused(python: str) -> None:
    made = Surroundings()
    made.announce(message(python), "")
    for _ in range(2):
        with pytest.raises(NoWorld, match=f"its program runs on {python} and this worker on cpython-"):
            made.enter()


def test_a_description_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    made = Surroundings()
    made.announce(message(), str(tmp_path / "nothing"))
    with pytest.raises(NoWorld, match="cannot be read"):
        made.enter()


def test_what_the_agent_misses_is_said() -> None:
    made = Surroundings()
    made.miss("no such Python")
    made.announce(message(), "")
    with pytest.raises(NoWorld, match="no such Python"):
        made.enter()
