"""Where a program has changed its modules: in texts, and in what their containers hold."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.main_modules import program

from taskyard._engine.world import module_texts
from taskyard._engine.world.module_changes import ModuleChanges, Place, anywhere, home_of
from taskyard._engine.world.module_texts import Text, Texts, read


@pytest.mark.parametrize(
    ("text", "sets", "fills", "by_name"),
    [
        ("settings.DEBUG = True", ["settings.DEBUG"], [], []),
        ("    a.b.c += 1", ["a.b.c"], [], []),
        ("import a; a.b = 1; a.c = 2", ["a.b", "a.c"], [], []),
        ("if a.b: a.c = 1", ["a.c"], [], []),
        ("f(\n    a.b,\n    a.c\n)\na.d\n", [], [], []),
        ("f(a.b, key=a.c)\nx = {a.b: a.c}", [], [], []),
        ("a.b: int = 1", ["a.b"], [], []),
        ("a.b == 1\na.c(x=1)\na.d <= 2", [], [], []),
        ("x = 1\nself.x = 2\ncls.y = 3\nself.z['a'] = 1", [], [], []),
        ("del a.b", ["a.b"], [], []),
        ("a.b['k'] = 1", [], ["a.b"], []),
        ("rows[0] = 1", [], ["rows"], []),
        ("a.b['k'].c = 1", [], ["a.b"], []),
        ("a.b['k'][0] |= {1}", [], ["a.b"], []),
        ("del a.b['k']", [], ["a.b"], []),
        ("a.rows.append(1)", [], ["a.rows"], []),
        ("a.rows['k'].append(1)", [], ["a.rows"], []),
        ("x = [a.words.pop() for _ in range(3)]", [], ["a.words"], []),
        ("f().append(1)", [], [], []),
        ("setattr(a.b, 'name', 1)", ["a.b.name"], [], []),
        ("with patch.object(a.B, 'get', fake): pass", ["a.B.get"], [], []),
        ('monkeypatch.setattr(settings, "DEBUG", True)', ["settings.DEBUG"], [], []),
        ("monkeypatch.setitem(settings.ALL, 'x', 1)", [], ["settings.ALL"], []),
        ("monkeypatch.setattr('app.db.connect', fake)", [], [], ["app.db.connect"]),
        ("@mock.patch('app.db.connect')", [], [], ["app.db.connect"]),
        ("patch.dict('app.ALL', x=1)", [], [], ["app.ALL"]),
    ],
)
def test_what_a_text_says(text: str, sets: list[str], fills: list[str], by_name: list[str]) -> None:
    found = read(text)
    assert (list(found.sets), list(found.fills), list(found.sets_by_name)) == (
        sets,
        fills,
        by_name,
    )


def test_imports_of_a_text() -> None:
    found = read("import a.b as c, d\nfrom .e import (\n    f,\n    g,\n)\n")
    assert {"b", "d", "e", "g"} <= found.imports
    assert found.may_import("pack.e")
    assert not found.may_import("pack.other")
    assert not Text().may_import("pack")


MODULES = {
    "changed_registry": "ALL = {}\nDEEP = {'a': []}\n\nclass Base:\n    kinds = []\n",
    "changed_settings": "DEBUG = False\nROWS = []\n\nclass Config:\n    limit = 1\n\nconfig = Config()\n",
    "changed_plugin": "import changed_registry\n\ndef handle(): pass\n\nchanged_registry.ALL['p'] = handle\n",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Local modules, which nothing has changed yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield {name: __import__(name) for name in ("changed_registry", "changed_settings")}
    for name in MODULES:
        sys.modules.pop(name, None)


def changed(of: str = "changed_") -> set[Place]:
    return {place for place in ModuleChanges().places() if place.module.startswith(of)}


def script(tmp_path: Path, text: str) -> str:
    """Return a program whose main module has a file with what it executes."""
    path = tmp_path / "main_script.py"
    path.write_text(text)
    return f"__file__ = {str(path)!r}\n{text}"


def test_nothing_is_found_where_nothing_was_changed(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    with program(script(tmp_path, "import changed_settings\nDEBUG = changed_settings.DEBUG")):
        assert changed() == set()


def test_attributes_and_containers_that_a_script_changes(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    text = """
import changed_settings as settings
from changed_settings import ROWS, Config, config
settings.DEBUG = True
ROWS.append(1)
Config.limit = 2
config.colour = "red"
settings.missing.append(1) if hasattr(settings, "missing") else None
"""
    with program(script(tmp_path, text)):
        assert changed() == {
            Place("changed_settings", ("DEBUG",)),
            Place("changed_settings", ("ROWS",)),
            Place("changed_settings", ("Config", "limit")),
            Place("changed_settings", ("config", "colour")),
        }


def test_what_is_registered_is_found_by_who_holds_it(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    text = """
import changed_registry
class Mine(changed_registry.Base): pass
def own(): pass
def register(where, what): where.append(what)
register(changed_registry.DEEP["a"], Mine())
register(changed_registry.Base.kinds, Mine)
"""
    with program(script(tmp_path, text)):
        assert changed() == {
            Place("changed_registry", ("DEEP",)),
            Place("changed_registry", ("Base", "kinds")),
        }


def test_a_module_that_registers_itself_is_to_be_imported(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    with program(script(tmp_path, "import changed_plugin")):
        assert Place("changed_plugin", ()) in changed()


def test_where_objects_are(modules: dict[str, ModuleType]) -> None:
    settings = modules["changed_settings"]
    assert home_of(settings.config) == Place("changed_settings", ("config",))
    assert home_of(object()) is None
    assert anywhere("ROWS", settings.ROWS) == Place("changed_settings", ("ROWS",))
    assert anywhere("other", settings.ROWS) is None
    made = ModuleType("made_by_hand")
    made.__dict__["LOCK"] = lock = object()
    sys.modules["made_by_hand"] = made
    try:
        assert anywhere("LOCK", lock) is None, "no other process has that module"
    finally:
        del sys.modules["made_by_hand"]


def test_texts_are_read_once_until_they_change(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts, reads = Texts(), list[str]()
    monkeypatch.setattr(module_texts, "read", lambda text: reads.append(text) or read(text))
    texts.of(modules)
    assert len(reads) == 2
    texts.of(modules)
    assert len(reads) == 2
    (tmp_path / "changed_settings.py").write_text("import changed_registry\nchanged_registry.ALL = 1\n")
    assert texts.of(modules)["changed_settings"].sets == ("changed_registry.ALL",)
    assert len(reads) == 3


def test_of_large_programs_the_script_and_what_it_imported_last_is_read(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module_texts, "MOST_BYTES", 10 + len(MODULES["changed_settings"]))
    texts = Texts()
    found = texts.of(modules)
    assert [found[name].is_read for name in ("changed_registry", "changed_settings")] == [False, True]
    assert found["changed_registry"].may_import("anything"), "nobody knows"
    with program(script(tmp_path, "import changed_settings\nchanged_settings.DEBUG = True\n")):
        assert [text.sets for text in texts.of_main()] == [("changed_settings.DEBUG",)]


class Standing:
    """Stands for another object, which cannot be made yet."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("not yet")

    @__class__.setter
    def __class__(self, kind: type) -> None:
        """Be of another class."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("not yet")


def test_objects_that_stand_for_others_are_not_asked(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    modules["changed_settings"].lazy = Standing()
    modules["changed_settings"].ROWS.append(Standing())
    text = """
import changed_settings
from changed_settings import lazy

def later():
    changed_settings.lazy.colour = "red"
    lazy.other = 1
    changed_settings.lazy.rows.append(1)
"""
    with program(script(tmp_path, text)):
        assert Place("changed_settings", ("lazy", "colour")) in changed()
