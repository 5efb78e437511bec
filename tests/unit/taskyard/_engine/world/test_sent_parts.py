"""What of a program is its own: its modules with their packages, and nothing that is installed."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskyard._engine.world import sent_parts
from taskyard._engine.world.sent_parts import ImportedNames, Part, names_in

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules below a directory that is on the import path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def writing(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return path

    yield writing
    for name in set(sys.modules) - before:
        del sys.modules[name]


def below(root: Path) -> set[str]:
    """The paths of what is loaded from below a directory, relative to it."""
    return {str(Path(part.path).relative_to(root)) for part in sent_parts.loaded() if part.root == str(root)}


def test_a_module_is_sent_by_itself_and_a_package_as_a_whole(write: Write, tmp_path: Path) -> None:
    write("own_module.py")
    write("own_package/__init__.py")
    write("own_package/inner/__init__.py")
    for name in ("own_module", "own_package.inner"):
        importlib.import_module(name)
    assert below(tmp_path) == {"own_module.py", "own_package"}


def test_of_a_namespace_package_only_what_is_below_it_is_sent(write: Write, tmp_path: Path) -> None:
    write("own_names/ours/__init__.py")
    write("own_names/plain/steps.py")
    write("own_names/theirs/__init__.py")
    for name in ("own_names.ours", "own_names.plain.steps"):
        importlib.import_module(name)
    assert below(tmp_path) == {"own_names/ours", "own_names/plain"}


def test_what_comes_with_python_or_is_installed_is_not_sent(write: Write, tmp_path: Path) -> None:
    write("site-packages/installed_thing/__init__.py")
    sys.path.insert(0, str(tmp_path / "site-packages"))
    importlib.import_module("installed_thing")
    roots = {part.root for part in sent_parts.loaded()}
    assert str(tmp_path / "site-packages") not in roots
    assert not {Path(importlib.__file__ or "").parent.parent, Path(pytest.__file__).parent.parent} & set(
        map(Path, roots)
    )


def test_what_is_installed_as_a_link_to_its_source_is_sent(write: Write, tmp_path: Path) -> None:
    write("source/linked_thing/__init__.py")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages/linked_thing").symlink_to(tmp_path / "source/linked_thing")
    sys.path.insert(0, str(tmp_path / "site-packages"))
    importlib.import_module("linked_thing")
    assert Path(tmp_path / "site-packages/linked_thing") in {Path(p.path) for p in sent_parts.loaded()}


def test_a_module_that_hides_one_of_pythons_is_sent(write: Write, tmp_path: Path) -> None:
    write("antigravity.py")
    importlib.import_module("antigravity")
    assert below(tmp_path) == {"antigravity.py"}


def test_taskyard_itself_is_never_sent() -> None:
    assert not {Path(part.path).name for part in sent_parts.loaded()} & {"taskyard", "taskyard_contract"}


def test_what_is_among_the_modules_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sent_parts.loaded()
    monkeypatch.setitem(sys.modules, "odd_one", object())
    monkeypatch.setitem(sys.modules, "no_one", None)
    assert sent_parts.loaded() == before


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import one", ["one"]),
        ("import one.two as three, four", ["one.two", "four"]),
        ("def f():\n    from one.two import three", ["one.two", "one.two.three"]),
        ("from one import (\n    two,\n    three,\n)", ["one", "one.two", "one.three"]),
        ("if True: import one", ["one"]),
        ("from . import one\nfrom .two import three", []),
        ("important = 1\nfrom_here = 2", []),
    ],
)
def test_names_are_found_in_import_statements_wherever_they_stand(text: str, names: list[str]) -> None:
    found = [name for name in names_in(text) if not name.endswith(".")]
    assert found == names


def test_imports_lead_to_what_the_program_has_not_loaded(write: Write, tmp_path: Path) -> None:
    write("later_module.py")
    write("later_package/__init__.py")
    write("later_names/one/__init__.py")
    write("later_names/other/__init__.py")
    names = ["later_module", "later_package.x", "later_names", "later_names.one", "json", "pytest", "nothing"]
    assert set(ImportedNames().parts(names)) == {
        Part(str(tmp_path), str(tmp_path / "later_module.py")),
        Part(str(tmp_path), str(tmp_path / "later_package")),
        Part(str(tmp_path), str(tmp_path / "later_names/one")),
    }
