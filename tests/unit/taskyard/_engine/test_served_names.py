"""By which names programs find the tasks of each other."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskyard._engine.definitions.served_names import served_as, served_names


def outer() -> None:
    """Lie in a module."""


class Calls:
    """An object that is called."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, number: int) -> int:
        return number * self.by

    def method(self) -> None:
        """Lie in a class."""


def made(by: Any) -> Callable[[int], Any]:
    def inner(number: int) -> Any:
        return by, number

    return inner


def test_a_function_of_a_module_has_its_place_as_its_name() -> None:
    assert served_names(outer) == (f"{__name__}:outer",)
    assert served_as(Calls.method) == f"{__name__}:Calls.method"


@pytest.mark.parametrize("make", [made, Calls])
def test_what_may_be_several_under_one_name_is_told_apart_by_its_code(make: Callable[[int], Any]) -> None:
    assert served_as(make(1)) == served_as(make(1))
    assert served_as(make(1)) != served_as(make(2))
    assert "#" in served_as(make(1))


def test_what_has_no_content_has_no_name() -> None:
    assert served_as(made(threading.Lock())) == ""


def main_module(monkeypatch: pytest.MonkeyPatch, **has: object) -> None:
    main = ModuleType("__main__")
    main.__dict__.update(has)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(outer, "__module__", "__main__")


def test_a_program_announces_all_names_that_its_file_may_have_in_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "shop" / "orders.py"
    main_module(monkeypatch, __file__=str(path), __spec__=None)
    monkeypatch.setattr(sys, "path", [str(path.parent), "/nowhere"])
    monkeypatch.chdir(tmp_path)
    assert served_as(outer) == "orders:outer"
    assert served_names(outer) == ("orders:outer", "shop.orders:outer")


def test_a_module_that_was_started_has_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = type("Spec", (), {"name": "shop.orders"})()
    main_module(monkeypatch, __file__=str(tmp_path / "shop" / "orders.py"), __spec__=spec)
    assert served_as(outer) == "shop.orders:outer"


def test_what_was_typed_at_a_prompt_is_told_apart_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    main_module(monkeypatch, __spec__=None)
    assert served_as(outer).startswith("__main__:outer#")


def test_a_program_whose_directory_was_deleted_has_names_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    main_module(monkeypatch, __file__=str(tmp_path / "orders.py"), __spec__=None)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path)])
    gone.rmdir()
    assert served_as(outer) == "orders:outer"
    assert served_names(outer) == ("orders:outer",)
