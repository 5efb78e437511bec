import sys
from pathlib import Path
from types import ModuleType

import pytest

from taskyard._data.identity.installed import is_installed


def module(name: str, path: Path | None) -> ModuleType:
    made = ModuleType(name)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.__file__ = str(path)
    return made


@pytest.mark.parametrize(
    "name", ["builtins", "sys", "json", "zipimport", "pytest", "taskyard.tasks", "_frozen_importlib"]
)
def test_python_and_packages_are_installed(name: str) -> None:
    assert is_installed(name)


def test_scripts_and_what_nobody_can_import_are_the_programs() -> None:
    assert not is_installed("__main__")
    assert not is_installed("nobody.imported.this")


def test_where_installers_left_records_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libraries" / "one-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "libraries")
    monkeypatch.syspath_prepend(tmp_path / "project")
    monkeypatch.setitem(sys.modules, "one", module("one", tmp_path / "libraries" / "one" / "__init__.py"))
    monkeypatch.setitem(sys.modules, "models", module("models", tmp_path / "project" / "models.py"))
    monkeypatch.setitem(sys.modules, "spaces", module("spaces", None))
    assert [is_installed(name) for name in ("one", "models", "spaces")] == [True, False, False]
