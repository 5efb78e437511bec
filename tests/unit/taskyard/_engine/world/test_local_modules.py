"""Modules that workers would not find are named with their files, and those loaded anew are noticed."""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from taskyard._engine.world.local_modules import LocalModules, found_elsewhere, local_modules


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project, and no module of it left behind."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield
    for name in sys.modules.keys() - before:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def elsewhere() -> dict[str, str]:
    """Those of this test: the tests themselves are loaded by pytest from a path."""
    return {name: file for name, file in found_elsewhere().items() if "of_tests" in name}


def test_what_lies_along_the_path_needs_no_file(tmp_path: Path) -> None:
    write(tmp_path / "one/plain_of_tests.py")
    write(tmp_path / "one/package_of_tests/__init__.py")
    write(tmp_path / "one/package_of_tests/below.py")
    write(tmp_path / "one/space_of_tests/first.py")
    write(tmp_path / "two/space_of_tests/second.py")
    sys.path[:0] = ["one", str(tmp_path / "two")]
    for name in (
        "plain",
        "package",
        "package_of_tests.below",
        "space_of_tests.first",
        "space_of_tests.second",
    ):
        importlib.import_module(name if "." in name else f"{name}_of_tests")
    names = {name for name, _ in local_modules()}
    assert {"plain_of_tests", "package_of_tests.below", "space_of_tests.second"} <= names
    assert elsewhere() == {}


def test_the_empty_entry_of_the_path_is_the_directory(tmp_path: Path) -> None:
    write(tmp_path / "here_of_tests.py")
    sys.path.insert(0, "")
    importlib.import_module("here_of_tests")
    assert elsewhere() == {}


def test_a_module_that_was_loaded_from_a_path_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "hidden/some_file.py")
    load("loaded_of_tests", file)
    assert elsewhere() == {"loaded_of_tests": str(file)}


def test_a_module_of_the_same_name_elsewhere_on_the_path_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "on_path/loaded_of_tests.py")
    file = write(tmp_path / "hidden/loaded_of_tests.py")
    sys.path.insert(0, str(tmp_path / "on_path"))
    load("loaded_of_tests", file)
    assert elsewhere() == {"loaded_of_tests": str(file)}


def test_modules_below_packages_that_are_only_names(tmp_path: Path) -> None:
    """As the importlib mode of pytest loads tests."""
    file = write(tmp_path / "hidden/unit/test_it.py")
    for name in ("root_of_tests", "root_of_tests.unit"):
        sys.modules[name] = ModuleType(name)
    load("root_of_tests.unit.test_it", file)
    assert elsewhere() == {
        "root_of_tests": "",
        "root_of_tests.unit": "",
        "root_of_tests.unit.test_it": str(file),
    }


def test_a_module_whose_path_was_taken_away_again_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "once/away_of_tests.py")
    sys.path.insert(0, str(tmp_path / "once"))
    importlib.import_module("away_of_tests")
    assert elsewhere() == {}
    del sys.path[0]
    assert elsewhere() == {"away_of_tests": str(file)}


def test_without_a_directory_absolute_entries_still_count(tmp_path: Path) -> None:
    write(tmp_path / "one/plain_of_tests.py")
    sys.path[:0] = [str(tmp_path / "one"), "", "relative"]
    importlib.import_module("plain_of_tests")
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert elsewhere() == {}


def test_a_module_that_is_loaded_anew_is_noticed_once(tmp_path: Path) -> None:
    file = write(tmp_path / "again_of_tests.py", "V = 1")
    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module("again_of_tests")
    known = LocalModules()
    assert not known.are_reloaded()
    file.write_text("V = 22")
    importlib.reload(module)
    assert known.are_reloaded()
    assert not known.are_reloaded()
    del sys.modules["again_of_tests"]
    assert not known.are_reloaded(), "it is only gone"
    file.write_text("V = 333")
    importlib.import_module("again_of_tests")
    assert known.are_reloaded(), "and came back as another one"


def test_a_file_that_was_changed_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path / "edited_of_tests.py", "V = 1")
    sys.path.insert(0, str(tmp_path))
    importlib.import_module("edited_of_tests")
    known = LocalModules()
    logging.getLogger("taskyard").propagate = True
    with caplog.at_level(logging.WARNING):
        for text in ("V = 22", "V = 333"):
            file.write_text(text)
            assert not known.are_reloaded()
    said = [record.getMessage() for record in caplog.records if "edited_of_tests" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"{file} was changed after this program imported 'edited_of_tests'")


def test_what_is_installed_and_what_is_pythons_own_is_not_local() -> None:
    names = {name for name, _ in local_modules()}
    assert not names & {"os", "json", "pytest", "grpc", "taskyard", "taskyard_agent", "__main__"}


EDITED = "LIMIT = 1\n\ndef f():\n    return {}\n\nclass K:\n    def get(self):\n        return {}\n"


@pytest.mark.parametrize(
    "replace",
    [
        lambda module: setattr(module.f, "__code__", (lambda: 2).__code__),
        lambda module: setattr(module, "f", lambda: 2),
        lambda module: setattr(module.K, "get", lambda self: 2),
        lambda module: setattr(module, "LIMIT", 2.5),
        lambda module: setattr(module, "added", lambda: 2),
    ],
)
def test_a_notebook_that_replaces_what_was_edited_has_loaded_it_anew(
    tmp_path: Path, replace: Callable[[ModuleType], None], caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "edited_of_tests.py", EDITED.format(1, 1))
    module = load("edited_of_tests", file)
    modules = LocalModules()
    assert not modules.are_reloaded()
    module.rows = []  # of the program, whose file is as it was
    write(file, EDITED.format(22, 22))
    with caplog.at_level(logging.WARNING):
        assert not modules.are_reloaded()
    assert "was changed after this program imported" in caplog.text
    replace(module)
    assert modules.are_reloaded()
    assert not modules.are_reloaded()


def test_a_reload_after_the_warning_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._engine.world.local_modules._PAUSE", 1e9)
    file = write(tmp_path / "again_of_tests.py", EDITED.format(1, 1))
    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module("again_of_tests")
    modules = LocalModules()
    write(file, EDITED.format(22, 22))
    assert not modules.are_reloaded()
    assert modules.are_same()
    importlib.reload(module)
    assert not modules.are_same()
    assert modules.are_reloaded()
    assert modules.are_same()
