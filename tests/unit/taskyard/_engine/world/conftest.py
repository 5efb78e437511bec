"""A project whose code is sent."""

import importlib
import sys
from pathlib import Path

import pytest

from taskyard._data.identity.installed import OWN
from taskyard._engine.world import sent_parts


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in the present directory, of which one module is loaded, and nothing else is."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("")
    (root / "bundled_one.py").write_text("VALUE = 1\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["main.py", "argument"])
    installed = [entry for entry in sys.path if sent_parts.lies_installed(entry)]
    monkeypatch.setattr(sys, "path", [str(root), *installed])
    kept = {name: module for name, module in sys.modules.items() if not _is_of_tests(module)}
    monkeypatch.setattr(sys, "modules", kept)
    importlib.invalidate_caches()
    importlib.import_module("bundled_one")
    return root


def _is_of_tests(module: object) -> bool:
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    own = name.partition(".")[0] in OWN
    return isinstance(file, str) and not own and not sent_parts.lies_installed(file)
