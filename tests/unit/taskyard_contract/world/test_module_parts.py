"""What a program has made of its modules, made in another process: objects stay, their contents change."""

import pickle
import sys
from collections import OrderedDict, defaultdict, deque
from types import ModuleType
from typing import Any

import pytest

from taskyard_contract.world import module_parts
from taskyard_contract.world.module_parts import ModulePart, apply, fill, is_plain, place, troubles


class Plain:
    """Nothing but attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> str:
        """Be replaced."""
        return "own"


class Slotted:
    """Has no attributes of its own kind."""

    __slots__ = ("x",)


class Reduced(Plain):
    """Says itself how it is pickled."""

    def __reduce__(self) -> Any:
        return Reduced, ()


class Mapping(dict[str, int]):
    """Has more than attributes."""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of this process."""
    module = ModuleType("parts_home")
    vars(module).update(ROWS=[1], OPTIONS={"a": 1}, DEBUG=False, config=Plain(a=1, b=2), Plain=Plain)
    monkeypatch.setitem(sys.modules, "parts_home", module)
    monkeypatch.setattr(module_parts, "_applied", module_parts._Applied())
    return module


def part(path: str, value: Any, content: bytes = b"") -> ModulePart:
    data = pickle.dumps(value)
    return ModulePart("parts_home", tuple(path.split(".")), content or data, data)


@pytest.mark.parametrize(
    ("present", "value"),
    [
        ([1], [2, 3]),
        ({"a": 1}, {"b": 2}),
        ({1}, {2}),
        (deque([1]), deque([2])),
        (defaultdict(list, a=[1]), defaultdict(list, b=[2])),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (bytearray(b"a"), bytearray(b"bc")),
    ],
)
def test_containers_are_filled(present: Any, value: Any) -> None:
    assert fill(present, value)
    assert present == value
    assert list(present) == list(value)


def test_plain_objects_are_filled_and_others_are_not() -> None:
    present = Plain(a=1, b=2)
    assert fill(present, Plain(a=3))
    assert vars(present) == {"a": 3}
    for one, other in (
        ([1], {1}),
        (1, 2),
        ("a", "b"),
        (Reduced(a=1), Reduced()),
        (Mapping(a=1), Mapping(b=2)),
    ):
        assert not fill(one, other)
    assert [is_plain(one) for one in (Plain(), Slotted(), Reduced(), Mapping(), 1, Plain)] == [True] + [
        False
    ] * 5


def test_objects_stay_and_get_contents(home: ModuleType) -> None:
    rows, config = home.ROWS, home.config
    apply([part("ROWS", [2]), part("config", Plain(c=3)), part("DEBUG", True), part("config.d", 4)])
    assert (home.ROWS, home.DEBUG) == ([2], True)
    assert home.ROWS is rows
    assert home.config is config
    assert vars(config) == {"c": 3, "d": 4}
    assert place("parts_home", ("ROWS",), rows) is rows


def test_what_was_applied_is_not_applied_again(home: ModuleType) -> None:
    once = part("ROWS", [2])
    apply([once])
    home.ROWS.append("by a run")
    apply([once])
    assert home.ROWS == [2, "by a run"]
    apply([part("ROWS", [3])])
    assert home.ROWS == [3]


def test_what_a_module_has_itself_comes_back(home: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "method", Plain.method)  # put back after the test
    own = Plain.method
    apply([part("Plain.method", len), part("added", 1), part("added", 2)])
    assert (Plain.method, home.added) == (len, 2)
    apply(
        [
            ModulePart("parts_home", ("Plain", "method"), b"own", b""),
            ModulePart("parts_home", ("added",), b"own", b""),
            ModulePart("parts_home", ("DEBUG",), b"own", b""),
        ]
    )
    assert Plain.method is own
    assert not hasattr(home, "added")
    assert home.DEBUG is False


def test_what_is_not_there_is_told_once_and_left_out(home: ModuleType) -> None:
    missing = ModulePart("parts_of_nowhere", (), b"", b"")
    apply([missing, part("nothing.at.all", 1), part("DEBUG", True)])
    assert home.DEBUG is True
    told = troubles()
    assert [text.split(" ")[0] for text in told] == ["'parts_of_nowhere'", "'parts_home.nothing.at.all'"]
    assert "ModuleNotFoundError" in told[0]
    apply([missing])
    assert troubles() == []
