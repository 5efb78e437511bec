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
    record = tmp_path / "one-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(
        "one/__init__.py,sha256=x,1\n../../bin/one,,\nsix.py,sha256=y,2\n__pycache__/six.pyc,,\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, path in (("one", "one/__init__.py"), ("one.deep", "one/deep/a.py"), ("six", "six.py")):
        monkeypatch.setitem(sys.modules, name, module(name, tmp_path / path))
    for name, path in (("models", "models.py"), ("app.one", "app/one.py"), ("ones", "ones/__init__.py")):
        monkeypatch.setitem(sys.modules, name, module(name, tmp_path / path))
    monkeypatch.setitem(sys.modules, "spaces", module("spaces", None))
    assert [is_installed(name) for name in ("one", "one.deep", "six")] == [True] * 3
    assert [is_installed(name) for name in ("models", "app.one", "ones", "spaces")] == [False] * 4
