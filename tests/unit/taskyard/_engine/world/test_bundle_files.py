"""Which files are sent to workers on other machines."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from taskyard._engine.world import bundle_files
from taskyard._engine.world.bundle_files import Collection, collect
from taskyard._engine.world.project import Project
from taskyard._engine.world.sent_parts import Part
from taskyard.exceptions import ConfigurationError, PayloadTooLarge
from taskyard_contract.world.facts import MainFacts


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def package(root: Path, *, main: str | None = None, **said: tuple[str, ...]) -> Collection:
    """What is sent of a program that has loaded `pkg`."""
    part = Part(str(root), str(root / "pkg"))
    return collect(Project(str(root), **said), [part], MainFacts(main), {})


def test_a_package_is_sent_with_what_is_no_module(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "pkg/inner/data/words.txt", "beside.py")
    assert list(package(tmp_path).sources) == ["0/pkg/__init__.py", "0/pkg/inner/data/words.txt"]


def test_what_is_made_by_tools_or_hidden_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "pkg/__pycache__/x.pyc", "pkg/old.pyc", "pkg/.env", "pkg/.git/config")
    write(tmp_path, "pkg/node_modules/x/y.js", "pkg/env/pyvenv.cfg", "pkg/env/lib/x.py", "pkg/venv/kept.txt")
    assert list(package(tmp_path).sources) == ["0/pkg/__init__.py", "0/pkg/venv/kept.txt"]


def test_what_the_project_excludes_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "pkg/big/x.bin", "pkg/kept/y.bin", "pkg/z.csv")
    sources = package(tmp_path, exclude=("pkg/big", "*.csv")).sources
    assert list(sources) == ["0/pkg/__init__.py", "0/pkg/kept/y.bin"]


def test_what_the_project_includes_is_sent(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "plugins/one.py", "plugins/deep/two.py", "words.txt", "other.txt")
    sources = package(tmp_path, include=("plugins", "w*.txt")).sources
    assert set(sources) == {
        *("0/pkg/__init__.py", "0/plugins/one.py"),
        *("0/plugins/deep/two.py", "0/words.txt"),
    }


def test_a_pattern_without_any_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py")
    with pytest.raises(ConfigurationError, match=r"'wrods.txt' is to be sent .* no such file"):
        package(tmp_path, include=("wrods.txt",))


def test_the_file_of_the_main_module_is_sent_where_it_is_found_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "pkg/cli.py", "tool.py")
    assert package(tmp_path, main=str(tmp_path / "tool.py")).main_place == "0/tool.py"
    assert package(tmp_path, main=str(tmp_path / "pkg/cli.py")).main_place == "0/pkg/cli.py"


def test_the_file_of_an_installed_command_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py")
    sent = package(tmp_path, main=pytest.__file__)
    assert (sent.main_place, list(sent.sources)) == ("", ["0/pkg/__init__.py"])


def test_links_are_followed_inside_the_programs_directories_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, outside = tmp_path / "project", tmp_path / "outside"
    write(root, "pkg/__init__.py", "shared/inside.txt")
    write(outside, "secret.txt", "more/secret.txt")
    (root / "pkg/data").symlink_to(root / "shared")
    (root / "pkg/round").symlink_to(root / "pkg")
    (root / "pkg/secret.txt").symlink_to(outside / "secret.txt")
    (root / "pkg/more").symlink_to(outside / "more")
    (root / "pkg/nowhere").symlink_to(root / "missing")
    assert list(package(root).sources) == ["0/pkg/__init__.py", "0/pkg/data/inside.txt"]
    assert f"{root}/pkg/secret.txt" in caplog.text
    assert f"{root}/pkg/nowhere" in caplog.text


def test_a_limit_is_told_with_the_five_largest_files(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py")
    for number in range(6):
        with open(tmp_path / f"pkg/{number}.bin", "wb") as file:
            file.truncate((10 + number) * 1024 * 1024)  # without taking any room
    with pytest.raises(PayloadTooLarge) as caught:
        package(tmp_path)
    text = str(caught.value)
    assert [f"{number}.bin" in text for number in range(6)] == [False, True, True, True, True, True]
    assert "78,643,200 bytes in 7 files" in text
    assert "exclude" in text
    assert 'code = "image"' in text


def test_too_many_files_are_told_before_all_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_files, "MOST_FILES", 3)
    write(tmp_path, "pkg/__init__.py", *(f"pkg/{number}" for number in range(9)))
    with pytest.raises(PayloadTooLarge, match="in 4 files"):
        package(tmp_path)


def test_what_is_no_file_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py")
    os.mkfifo(tmp_path / "pkg/pipe")
    assert list(package(tmp_path).sources) == ["0/pkg/__init__.py"]


def test_imports_in_what_is_sent_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, "pkg/__init__.py", "followed_two.py")
    (tmp_path / "pkg/steps.py").write_text("def f():\n    import followed_one\n")
    (tmp_path / "followed_one.py").write_text("import followed_two\n")
    assert {"0/followed_one.py", "0/followed_two.py"} <= set(package(tmp_path).sources)


def test_places_are_searched_in_the_order_of_the_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (second, first):
        monkeypatch.syspath_prepend(str(root))
    write(first, "one.py")
    write(second, "two.py")
    parts = [Part(str(second), str(second / "two.py")), Part(str(first), str(first / "one.py"))]
    sent = collect(Project(str(tmp_path)), parts, MainFacts(), {})
    assert (sent.path, list(sent.sources)) == (["0", "1"], ["0/one.py", "1/two.py"])


def test_modules_from_elsewhere_are_sent_with_their_places(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "odd/plugin-1.py", "odd/whole/__init__.py", "odd/whole/x.txt")
    files = {"plugin": str(tmp_path / "odd/plugin-1.py"), "whole": str(tmp_path / "odd/whole/__init__.py")}
    sent = collect(Project(str(tmp_path)), [], MainFacts(), {**files, "parent": ""})
    assert {name: os.path.basename(place) for name, place in sent.modules.items()} == {
        "plugin": "plugin-1.py",
        "whole": "__init__.py",
        "parent": "",
    }
    assert {os.path.basename(place) for place in sent.sources} == {"plugin-1.py", "__init__.py", "x.txt"}


def test_modules_that_are_links_themselves_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links, source = tmp_path / "links", tmp_path / "elsewhere/source"
    write(source, "linked_part/__init__.py", "linked_part/more.py")
    (links / "linked_part").mkdir(parents=True)
    for name in ("__init__.py", "more.py"):
        (links / "linked_part" / name).symlink_to(source / "linked_part" / name)
    monkeypatch.syspath_prepend(str(links))
    importlib.import_module("linked_part")
    sent = collect(Project(str(links)), [Part(str(links), str(links / "linked_part"))], MainFacts(), {})
    monkeypatch.delitem(sys.modules, "linked_part")
    assert list(sent.sources) == ["0/linked_part/__init__.py", "0/linked_part/more.py"]


def test_a_program_that_is_an_archive_is_sent_as_one(tmp_path: Path) -> None:
    write(tmp_path, "app.pyz")
    sent = collect(Project(str(tmp_path)), [], MainFacts(str(tmp_path / "app.pyz/__main__.py")), {})
    assert (sent.path, list(sent.sources), sent.main_place) == (["0/app.pyz"], ["0/app.pyz"], "")


@pytest.mark.parametrize("name", ["odd\\name.txt", "odd\udcff.txt"])
def test_a_name_that_others_may_not_take_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "pkg/__init__.py", f"pkg/{name}")
    with pytest.raises(ConfigurationError, match="has a name that other machines may not take"):
        package(tmp_path)
    assert list(package(tmp_path, exclude=("odd*",)).sources) == ["0/pkg/__init__.py"]
