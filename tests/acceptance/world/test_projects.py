"""However a program is started and wherever its modules lie, its tasks find them as the program does."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipapp
from pathlib import Path

import pytest
from support.projects import Project

from taskyard_contract.world import facts

MODELS = """
import enum, threading
from dataclasses import dataclass
from taskyard import task

LOCK = threading.Lock()
COUNT = 0

@dataclass
class Order:
    number: int

class Kind(enum.Enum):
    NEW = 1

class Refused(Exception):
    def __init__(self, order):
        self.order = order
        super().__init__(f"order {order.number}")

def bump():
    global COUNT
    with LOCK:
        COUNT += 1
    return COUNT

TABLE = {"double": lambda x: (bump(), x * 2)}

@task
def of_module(order):
    bump()
    return type(order) is Order, COUNT
"""
MAIN = """
import pickle
from taskyard import flow, task
from {package}models import Kind, Order, Refused
from {package} import models

class Basket:
    def __init__(self, *orders):
        self.orders = orders

@task
def handle(basket, kind):
    from {package}models import COUNT, Order as Again
    import {imported} as again
    assert type(basket) is Basket and type(basket.orders[0]) is Order is Again and kind is Kind.NEW
    assert again is models and pickle.loads(pickle.dumps(basket.orders[0])) == basket.orders[0]
    before = models.COUNT
    assert models.bump() == models.COUNT == before + 1
    assert models.TABLE["double"](4) == (models.COUNT, 8)
    return Basket(Order(7))

@task
def refuse(order):
    raise Refused(order)

@flow
def program():
    basket = handle(Basket(Order(1)), Kind.NEW)
    assert type(basket) is Basket and basket.orders == (Order(7),)
    try:
        refuse(Order(3))
    except Refused as error:
        assert error.order == Order(3)
    is_order, counted = models.of_module(Basket(Order(1)).orders[0])
    assert is_order and counted >= 1
    return "right"

if __name__ == "__main__":
    print(program())
"""
BESIDE = MAIN.format(package="", imported="models").replace("from  import models", "import models")
INSIDE = MAIN.format(package=".", imported="app.models")
SCRIPT = {"models.py": MODELS, "main.py": BESIDE}
PACKAGE = {"app/__init__.py": "", "app/models.py": MODELS, "app/main.py": INSIDE}


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["main.py"], ""),
        (["-m", "main"], ""),
        (["-X", "dev", "-W", "error", "-O", "main.py"], ""),
        (["-c", "__name__ = '__main__'\n" + BESIDE], ""),
        (["-"], BESIDE),
    ],
    ids=["script", "module", "options", "text", "stdin"],
)
def test_a_script_with_modules_beside_it(project: Project, arguments: list[str], stdin: str) -> None:
    project.write(SCRIPT)
    assert project.both(*arguments, stdin=stdin) == "right\n"


def test_a_script_that_is_started_from_elsewhere(project: Project, tmp_path: Path) -> None:
    project.write(SCRIPT)
    assert project.both(str(project.root / "main.py"), directory=tmp_path) == "right\n"


def test_a_script_behind_a_link_finds_what_lies_beside_the_script(project: Project, tmp_path: Path) -> None:
    project.write(SCRIPT)
    link = tmp_path / "other_name.py"
    link.symlink_to(project.root / "main.py")
    assert project.both(str(link), directory=tmp_path) == "right\n"


def test_paths_with_odd_characters(project: Project) -> None:
    project.write({f"ünï cödé 'x'/{name}": text for name, text in SCRIPT.items()})
    assert project.both("ünï cödé 'x'/main.py") == "right\n"


def test_a_package_that_is_started_as_a_module(project: Project) -> None:
    project.write(PACKAGE)
    assert project.both("-m", "app.main") == "right\n"


def test_a_package_that_is_imported_by_its_program(project: Project) -> None:
    project.write(PACKAGE)
    assert project.both("-c", "from app.main import program; print(program())") == "right\n"


def test_a_namespace_package_in_two_places(project: Project) -> None:
    project.write(
        {
            "one/space/models.py": MODELS,
            "two/space/main.py": MAIN.format(package="space.", imported="space.models").replace(
                "from space. import", "from space import"
            ),
        }
    )
    path = os.pathsep.join(str(project.root / name) for name in ("one", "two"))
    assert project.both("-m", "space.main", PYTHONPATH=path) == "right\n"
    assert project.both("-P", "-m", "space.main", PYTHONPATH=path) == "right\n"


def test_an_archive(project: Project) -> None:
    project.write({"source/__main__.py": BESIDE, "source/models.py": MODELS})
    zipapp.create_archive(project.root / "source", project.root / "app.pyz")
    assert project.both("app.pyz") == "right\n"


def test_a_directory_with_a_main_module(project: Project) -> None:
    project.write({"source/__main__.py": BESIDE, "source/models.py": MODELS})
    assert project.both("source") == "right\n"


def test_relative_entries_of_the_import_path(project: Project) -> None:
    project.write(
        {"lib/models.py": MODELS, "main.py": "import sys; sys.path[:0] = ['', 'lib']\n" + BESIDE.lstrip()}
    )
    assert project.both("main.py") == "right\n"


def test_a_project_that_is_installed_to_be_edited(project: Project) -> None:
    project.write({f"src/{name}": text for name, text in PACKAGE.items()})
    packages = project.root / "site"
    packages.mkdir()
    (packages / "project.pth").write_text(str(project.root / "src"))
    start = f"import site; site.addsitedir({str(packages)!r}); from app.main import program; print(program())"
    assert project.both("-c", start) == "right\n"


BY_PATH = """
import importlib.util, sys
from taskyard import flow

def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

models = load("loaded_models", "elsewhere/models.py")
deep = load("deep_models", "elsewhere/deep.py")

@flow
def program():
    return models.of_module(models.Order(1))[0], deep.of_module(deep.Order(1))[0]

print(program())
"""


def test_modules_that_are_loaded_from_a_path(project: Project) -> None:
    project.write({"elsewhere/models.py": MODELS, "elsewhere/deep.py": MODELS, "main.py": BY_PATH})
    assert project.both("main.py") == "(True, True)\n"


TESTS = """
import models
from dataclasses import dataclass
from taskyard import flow, task

@dataclass
class Row:
    order: models.Order

class TestThings:
    LIMIT = 3

    def test_one(self):
        assert program() == (True, Row(models.Order(2)), 3)

@task
def handle(row):
    models.bump()
    return type(row) is Row, Row(models.Order(2)), TestThings.LIMIT

@flow
def program():
    return handle(Row(models.Order(1)))

def test_local():
    factor = 4
    @task
    def local(x):
        return x * factor, type(Row(1)).__name__
    @flow
    def inner():
        return local(2)
    assert inner() == (8, "Row")
"""


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_tasks_in_the_modules_of_tests(project: Project, mode: str) -> None:
    project.write(
        {
            "models.py": MODELS,
            "tests/unit/test_things.py": TESTS,
            "tests/conftest.py": "",
            "pytest.ini": "[pytest]\npythonpath = .\n",
        }
    )
    done = project.agents("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--import-mode={mode}", "tests")
    assert "2 passed" in done


def test_a_program_that_imports_itself(project: Project) -> None:
    project.write(
        {
            "main.py": """
            from taskyard import flow, task

            class Thing:
                pass

            @task
            def handle(thing):
                import main
                return type(thing) is Thing, type(thing) is main.Thing

            @flow
            def program():
                return handle(Thing())

            if __name__ == "__main__":
                import main
                print(program(), main.program())
            """
        }
    )
    assert project.both("main.py") == "(True, False) (True, True)\n"


def test_names_for_type_checkers_and_those_of_stars(project: Project) -> None:
    project.write(
        {
            "models.py": MODELS,
            "main.py": """
            from __future__ import annotations
            from typing import TYPE_CHECKING
            from models import *
            from taskyard import flow, task
            if TYPE_CHECKING:
                from nowhere import Missing

            @task
            def handle(order: Order, other: Missing = None) -> Missing:
                return type(order) is Order, bump()

            @flow
            def program():
                return handle(Order(1))[0]

            print(program())
            """,
        }
    )
    assert project.both("main.py") == "True\n"


VERSION = """
import models
from taskyard import flow, task

@task
def name():
    import helper
    return models.NAME, helper.NAME

@task
def again():
    return name.fn()

@flow
def program():
    return {name.submit().result() for _ in range(4)} | {again()}

print(program())
"""


def test_two_projects_with_modules_of_the_same_name(project: Project) -> None:
    names = ("first", "second")
    for name in names:
        module = f"NAME = '{name}'"
        project.write({f"{name}/models.py": module, f"{name}/helper.py": module, f"{name}/main.py": VERSION})
    for name in (*names, *names):
        assert project.both(str(project.root / name / "main.py")) == f"{{('{name}', '{name}')}}\n"


def test_a_program_that_is_started_after_an_edit_runs_the_edit(project: Project) -> None:
    for name in ("before", "after", "at last"):
        module = f"NAME = '{name}'"
        project.write({"models.py": module, "helper.py": module, "main.py": VERSION})
        assert project.both("main.py", PYTHONDONTWRITEBYTECODE="1") == f"{{('{name}', '{name}')}}\n"


def test_the_interpreter_of_the_program(project: Project, tmp_path: Path) -> None:
    """A virtual environment of its own, with a package that the yard's does not have."""
    environment = tmp_path / "venv"
    project.agents("-m", "venv", "--without-pip", str(environment))
    packages = environment / sysconfig.get_path("purelib", vars={"base": ""}).lstrip("/")
    (packages / "yard.pth").write_text(sysconfig.get_path("purelib") + "\nimport _taskyard_of_tests")
    (packages / "_taskyard_of_tests.py").write_text(f"import site; site.addsitedir({str(_packages())!r})")
    (packages / "only_here.py").write_text("NAME = 'only here'")
    project.write(
        {
            "main.py": """
            import sys
            import only_here
            from taskyard import flow, task

            @task
            def where():
                import only_here as again
                return again.NAME, sys.prefix

            @flow
            def program():
                return where()

            name, prefix = program()
            print(name, prefix == sys.prefix)
            """
        }
    )
    python = environment / "bin" / "python"
    assert project.both("main.py", python=python) == "only here True\n"
    assert "ModuleNotFoundError" in project.start("main.py").communicate()[1]


def _packages() -> Path:
    return Path(sysconfig.get_path("purelib"))


def _other_python() -> Path | None:
    """Return a Python of another minor version that has what Taskyard stands on, if there is one."""
    named = [os.environ.get("OTHER_PYTHON"), *(shutil.which(f"python3.{minor}") for minor in range(11, 16))]
    test = (
        "import sys, grpc, cloudpickle, google.protobuf\n"
        f"sys.exit(sys.version_info[:2] == {tuple(sys.version_info[:2])})"
    )
    for path in filter(None, named):
        done = subprocess.run([path, "-c", test], capture_output=True, check=False)
        if done.returncode == 0:
            return Path(path)
    return None


def test_another_version_of_python_than_that_of_the_yard(project: Project) -> None:
    other = _other_python()
    if other is None:
        pytest.skip("no Python of another version here that has gRPC; OTHER_PYTHON names one")
    project.write(
        {
            **SCRIPT,
            "version.py": """
            import sys
            from taskyard import flow, task

            @task
            def version():
                try:
                    return [number for number in range(3)] and sys.version_info[:2]
                finally:
                    pass

            @flow
            def program():
                return version() == sys.version_info[:2]

            print(program())
            """,
        }
    )
    assert project.both("version.py") == "True\n"
    sources = os.pathsep.join(one for one in facts.library_path() if one != str(_packages()))
    assert project.both("version.py", python=other, PYTHONPATH=sources) == "True\n"
    assert project.both("main.py", python=other, PYTHONPATH=sources) == "right\n"
