"""A program's own code reaches agents that share nothing with it but the address of the server."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipapp
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.programs import Stage, eventually

MAIN = """
import inspect
import multiprocessing
import os
import sys

import models
import pack
from taskyard import flow, task

def double(number):
    return 2 * number

@task
def use(order):
    import helper
    from names.steps import clean

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        doubled = pool.map(double, [order.number])
    return [
        type(order) is models.Order, helper.VALUE, clean.VALUE, pack.words(), doubled, sys.argv[1:],
        "def double" in inspect.getsource(sys.modules["__main__"]), os.environ.get("REGION"),
        os.environ.get("SECRET"), __file__ != os.environ["HERE"],
    ]

@task
def outer(order):
    return use.submit(order).result()

@flow
def main():
    order = models.Order(21)
    print(use.submit(order).result())
    print(outer.submit(order).result() == use.submit(order).result())

if __name__ == "__main__":
    os.environ["HERE"] = __file__
    main()
"""
FILES = {
    "main.py": MAIN,
    "models.py": "from dataclasses import dataclass\n\n@dataclass\nclass Order:\n    number: int\n",
    "helper.py": "VALUE = 'one'\n",
    "pack/__init__.py": (
        "from pathlib import Path\n\n"
        "def words():\n    return (Path(__file__).parent / 'data/words.txt').read_text()\n"
    ),
    "pack/data/words.txt": "a b c",
    "names/steps/clean.py": "VALUE = 'clean'\n",
    "pyproject.toml": '[tool.taskyard]\nenvironment = ["REGION", "HERE"]\n',
}
EXPECTED = "[True, 'one', 'clean', 'a b c', [42], ['argument'], True, 'north', None, True]"
NOBODY = 65534
OTHER_USER = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


class Elsewhere:
    """A server, a project, and an agent that has nothing of it."""

    def __init__(self, stage: Stage, home: Path, python: list[str]) -> None:
        self._stage, self._home = stage, home
        self._project = stage.home / "project"
        for name, text in FILES.items():
            self.write(name, text)
        stage.serve()
        stage.work_elsewhere(home, "--slots", "1", "--name", "far", python=python)
        stage.environment |= {"REGION": "north", "SECRET": "s3cret"}

    def write(self, name: str, text: str) -> None:
        path = self._project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def set(self, name: str, value: str) -> None:
        """Set a variable of the programs that are run from now on."""
        self._stage.environment[name] = value

    def files_with(self, text: str) -> list[Path]:
        """Return the files of the server, of programs and of the agent that have a text in them."""
        homes = self._stage.home, self._home
        files = [path for home in homes for path in home.rglob("*") if path.is_file()]
        return [path for path in files if text.encode() in path.read_bytes()]

    def run(self) -> list[str]:
        done = self._stage.run_file(self._project / "main.py", "argument")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def printed(self, *arguments: str) -> str:
        done = self._stage.run_python(self._project, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pack(self, name: str) -> None:
        """Make an archive of a directory of the project, and remove that."""
        zipapp.create_archive(self._project / name)
        shutil.rmtree(self._project / name)

    def fail(self) -> str:
        done = self._stage.run_file(self._project / "main.py", "argument")
        assert done.returncode != 0, done.stdout
        return done.stderr

    def unpacked(self) -> dict[str, int]:
        """What the agent has unpacked, with something that is another when it is unpacked again."""
        found = (self._home / "agents/far/bundles").iterdir()
        return {path.name: path.stat().st_ino for path in found if path.is_dir()}


def _python_of_other_user() -> list[str]:
    """Return the command of an interpreter that another user starts; empty when there is none.

    That of these tests may lie in a directory of this user alone.
    """
    again = (
        "import subprocess, sys, grpc, taskyard_agent; sys.exit(subprocess.call([sys.executable, '-c', '']))"
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        with suppress(OSError):
            command = [*OTHER_USER, python]
            tried = subprocess.run(
                [*command, "-c", again], cwd="/", env=environment, capture_output=True, check=False
            )
            if not tried.returncode:
                return command
    return []


@pytest.fixture(params=["the same user", pytest.param("another user", marks=pytest.mark.slow)])
def elsewhere(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    python: list[str] = []
    home = Path(tempfile.mkdtemp(prefix="far-"))
    if request.param == "another user":
        python = _python_of_other_user()
        if not python:
            pytest.skip("no other user can be had who can start a Python of this version")
        shutil.chown(home, NOBODY, NOBODY)
    yield Elsewhere(stage, home, python)
    stage.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("elsewhere", ["the same user", "another user"], indirect=True)
def test_a_project_runs_as_it_runs_at_home(elsewhere: Elsewhere) -> None:
    assert elsewhere.run() == [EXPECTED, "True"]


def test_a_second_program_sends_nothing_and_one_after_an_edit_runs_the_edit(elsewhere: Elsewhere) -> None:
    elsewhere.run()
    first = elsewhere.unpacked()
    assert len(first) == 1
    elsewhere.run()
    assert elsewhere.unpacked() == first
    elsewhere.write("helper.py", "VALUE = 'two'\n")
    assert elsewhere.run() == [EXPECTED.replace("'one'", "'two'"), "True"]
    assert len(elsewhere.unpacked()) == 2
    elsewhere.write("helper.py", FILES["helper.py"])
    assert elsewhere.run() == [EXPECTED, "True"]
    assert len(elsewhere.unpacked()) == 2


def test_values_of_variables_are_in_no_file(elsewhere: Elsewhere) -> None:
    elsewhere.set("REGION", "north-of-nowhere")
    elsewhere.write("named.py", program("import os", "os.environ['REGION'][::-1]"))
    assert elsewhere.printed("named.py") == "erehwon-fo-htron"
    assert elsewhere.files_with("north-of-nowhere") == []
    assert elsewhere.files_with("REGION"), "names are known"


LEAVES = """
from taskyard import flow, materialize, task
from taskyard.artifacts import Artifact, create_markdown_artifact
from taskyard.assets import add_asset_metadata, read_asset
from taskyard.filesystems import LocalFileSystem

@materialize("far://orders", asset_deps=["far://raw"])
def make(name):
    create_markdown_artifact("# far", key="far")
    files = LocalFileSystem.load(name)
    add_asset_metadata("far://orders", {"read": files.read_path(files.write_path("a", b"far")).decode()})
    return 1

@materialize("far://sums")
def total(made):
    return made + 1

@flow
def main():
    return total.submit(make.submit("files")).result()

if __name__ == "__main__":
    LocalFileSystem(basepath="/tmp/SOMEWHERE").save("files")
    print(main(), Artifact.get("far").data, read_asset("far://orders").latest.metadata)
    print(read_asset("far://orders").latest.upstream, read_asset("far://sums").latest.upstream)
"""


@pytest.mark.parametrize("elsewhere", ["the same user"], indirect=True)
def test_row_30_what_is_made_there_is_recorded(elsewhere: Elsewhere, tmp_path: Path) -> None:
    place = tmp_path / "files"
    elsewhere.write("leaves.py", LEAVES.replace("/tmp/SOMEWHERE", str(place)))
    assert elsewhere.printed("leaves.py").splitlines() == [
        "2 # far {'read': 'far'}",
        "['far://raw'] ['far://orders']",
    ]
    assert (place / "a").read_bytes() == b"far"


def test_workers_have_the_variables_of_a_project_that_they_have_themselves(elsewhere: Elsewhere) -> None:
    elsewhere.write("pyproject.toml", '[tool.taskyard]\ncode = "image"\nenvironment = ["REGION"]\n')
    elsewhere.write("image.py", program("import os", "os.environ['REGION'], os.environ.get('SECRET')"))
    assert elsewhere.printed("image.py") == "('north', None)"


def test_workers_of_a_program_that_has_ended_go(elsewhere: Elsewhere) -> None:
    elsewhere.write("brief.py", program("import os", "os.getpid()"))
    worker = Path("/proc", elsewhere.printed("brief.py"))
    eventually(lambda: not worker.exists(), "its worker has ended")


def test_code_that_is_said_to_be_there_is_not_sent(elsewhere: Elsewhere) -> None:
    elsewhere.write("pyproject.toml", '[tool.taskyard]\ncode = "image"\n')
    told = elsewhere.fail()
    assert "No module named 'models'" in told
    assert "the program runs on another machine, and its code was not sent" in told


HIDDEN_IMPORT = MAIN.replace("import helper\n", "helper = __import__('hel' + 'per')\n")


def test_a_module_that_was_not_sent_is_told_with_the_reason(elsewhere: Elsewhere) -> None:
    elsewhere.write("main.py", HIDDEN_IMPORT)
    told = elsewhere.fail()
    assert "No module named 'helper'" in told
    assert "name it under 'include' in [tool.taskyard]" in told
    elsewhere.write("pyproject.toml", FILES["pyproject.toml"] + 'include = ["helper.py"]\n')
    assert elsewhere.run() == [EXPECTED, "True"]


def test_what_a_flow_says_of_its_code_counts_for_its_tasks(elsewhere: Elsewhere) -> None:
    elsewhere.write("main.py", HIDDEN_IMPORT.replace("@flow\n", '@flow(code=["helper.py"])\n'))
    assert elsewhere.run() == [EXPECTED, "True"]
    elsewhere.write("main.py", MAIN.replace("@flow\n", '@flow(code="image")\n'))
    assert "its code was not sent" in elsewhere.fail()


PROGRAM = """
from taskyard import flow, task
{imports}

@task
def use():
    return {value}

@flow
def main():
    return use.submit().result()

if __name__ == "__main__":
    print(main())
"""
BY_PATH = """
import importlib.util
import sys

spec = importlib.util.spec_from_file_location("odd", "odd-file.py")
odd = sys.modules["odd"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(odd)
"""


def program(imports: str, value: str = "tool.VALUE") -> str:
    return PROGRAM.format(imports=imports, value=value)


@pytest.mark.parametrize("elsewhere", ["the same user"], indirect=True)
def test_all_kinds_of_programs_are_sent(elsewhere: Elsewhere) -> None:
    elsewhere.write("cli/__init__.py", "")
    elsewhere.write("cli/tool.py", "VALUE = 'relative'")
    elsewhere.write("cli/run.py", program("from . import tool", "tool.VALUE, __spec__.name"))
    assert elsewhere.printed("-m", "cli.run") == "('relative', 'cli.run')"

    elsewhere.write("app/__main__.py", program("import tool"))
    elsewhere.write("app/tool.py", "VALUE = 'archived'")
    elsewhere.pack("app")
    assert elsewhere.printed("app.pyz") == "archived"

    elsewhere.write("odd-file.py", "VALUE = 'by its path'\n\ndef value():\n    return VALUE\n")
    elsewhere.write("odd_program.py", program(BY_PATH, "odd.value()"))
    assert elsewhere.printed("odd_program.py") == "by its path"

    assert elsewhere.printed("-c", program("from cli import tool")) == "relative"
