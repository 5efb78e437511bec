import copy
import dataclasses
import datetime
import enum
import pathlib
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from taskyard._data.identity.code_identity import identity_of
from taskyard._data.identity.contents import Contents
from taskyard.exceptions import HashError

DAY = datetime.date(2024, 1, 1)


class Pair(NamedTuple):
    one: int
    two: int


class Names(set[str]):
    pass


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


@dataclasses.dataclass
class Node:
    name: str
    others: Any = None


def content(value: Any) -> bytes:
    return Contents(identity_of).of(value)


@pytest.mark.parametrize(
    "values",
    [
        (1, 1.0, True, "1", b"1", Number.ONE, 1 + 0j),
        ([1, 2], (1, 2), {1, 2}, frozenset({1, 2}), Pair(1, 2), {1: None, 2: None}, deque([1, 2])),
        ({1: "x"}, {"1": "x"}, {1.0: "x"}),
        ([1, [2]], [[1], 2], [1, 2], [[1, 2]], [[1], [2]]),
        ("x", Text("x"), ["x"]),
        ({"a": 1}, OrderedDict(a=1), defaultdict(None, a=1), Counter(a=1)),
        ({"x"}, Names({"x"})),
        ("ab", ["a", "b"], ["ab"]),
        (b"ab", bytearray(b"ab")),
        (None, [], (), {}, "", 0, set()),
    ],
)
def test_values_of_other_types_have_other_contents(values: tuple[Any, ...]) -> None:
    assert len(set(map(content, values))) == len(values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {DAY + datetime.timedelta(n) for n in range(20)},
        lambda: {"a": {pathlib.Path(c) for c in "abcdefgh"}},
        lambda: Names("abcdefgh"),
        lambda: Node("x", {Pair(1, 2), Pair(2, 1)}),
        lambda: Counter("aabbb"),
        lambda: range(3),
    ],
)
def test_equal_values_have_equal_contents(make: Callable[[], Any]) -> None:
    assert content(make()) == content(make()) == content(copy.deepcopy(make()))


def test_the_order_of_dicts_and_sets_does_not_matter() -> None:
    assert content({"a": 1, (1, 2): [3]}) == content({(1, 2): [3], "a": 1})
    assert content(OrderedDict(a=1, b=2)) != content(OrderedDict(b=2, a=1))


def test_what_is_shared_is_like_what_is_equal() -> None:
    one, two = ["x", DAY], ["x", DAY]
    assert content((DAY, [one, one])) == content((DAY, [one, two]))
    node = Node("x", [DAY])
    assert content([node, node]) == content([node, copy.deepcopy(node)])


def test_shared_parts_are_looked_at_once() -> None:
    shared: list[Any] = [DAY]
    for _ in range(200):
        shared = [shared, shared]
    assert content(shared) == content(shared)


def ring(*names: str) -> Node:
    nodes = [Node(name) for name in names]
    for node, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        node.others = following
    return nodes[0]


def test_values_that_contain_themselves_have_a_content() -> None:
    assert content(ring("a", "b", "c")) == content(ring("a", "b", "c"))
    assert len({content(ring(*names)) for names in ("abc", "acb", "ab", "abcd", "aaa")}) == 5
    outer: list[Any] = []
    outer.append([outer])
    inner: list[Any] = []
    inner.append(inner)
    assert content(outer) != content(inner)


def test_parts_of_a_circle_have_the_content_that_they_have_alone() -> None:
    first = ring("a", "b")
    second = first.others
    assert content([first, second]) == content([ring("a", "b"), ring("b", "a")])


def test_a_circle_that_many_refer_to_is_looked_at_once() -> None:
    shared = ring(*(str(number) for number in range(50)))
    many = [Node(str(number), [shared, shared]) for number in range(2000)]
    assert content(many) == content(
        [*many[:1000], *(Node(node.name, [shared, shared]) for node in many[1000:])]
    )
    assert content(many[:2]) == content(copy.deepcopy(many[:2]))
    assert content([many[0], shared.others]) != content([many[0], shared])


def test_trees_that_know_their_parents_have_a_content() -> None:
    def tree(depth: int, parent: Node | None = None) -> Node:
        node = Node(str(depth), [parent])
        node.others += [tree(depth - 1, node) for _ in range(2)] if depth else []
        return node

    assert content(tree(7)) == content(tree(7)) != content(tree(6))
    nodes = tree(4)
    assert content([nodes, nodes.others[1]]) == content([tree(4), tree(4).others[1]])


def test_values_that_are_too_entangled_have_no_content() -> None:
    nodes = [Node(str(number)) for number in range(30)]
    for node in nodes:
        node.others = [other for other in nodes if other is not node]
    with pytest.raises(HashError, match="refer to each other in too many ways"):
        content(nodes)


@pytest.mark.parametrize(
    "value", [threading.Lock(), (n for n in "x"), {"deep": [{"down": threading.Lock()}]}, open]
)
def test_what_cannot_be_compared_has_no_content(value: Any) -> None:
    if value is open:
        assert content(value) == content(open)
        return
    with pytest.raises(TypeError, match="cannot pickle"):
        content(value)


def test_objects_that_show_their_address_are_known_by_what_they_hold() -> None:
    class Held:
        def __init__(self, value: int) -> None:
            self.value = value

    assert " at 0x" in repr(Held(1))
    assert content({Held(1)}) == content({Held(1)})
    assert content(Held(1)) != content(Held(2))


def test_enum_members_are_known_by_name_and_value() -> None:
    def colours(red: int) -> Any:
        return enum.Enum("Colour", {"RED": red}, module="shop")

    assert content(colours(1).RED) == content(colours(1).RED)
    assert content(colours(1).RED) != content(colours(2).RED)
