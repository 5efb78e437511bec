"""Laws of cache keys: equal values have one key in every process, other values have others.

Values are drawn as text, so that each process makes its own of them, with string hashes of its own seed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard._data.identity.code_identity import identity_of
from taskyard._data.identity.contents import Contents
from taskyard._data.values.hashing import hash_objects

NAMES = """
import dataclasses, datetime, decimal, enum, pathlib, uuid
from collections import Counter, OrderedDict, defaultdict, namedtuple

@dataclasses.dataclass(frozen=True)
class Box:
    held: object
    def total(self):
        return self.held in {"one", "two", "three"}

class Colour(enum.Enum):
    RED = 1
    BLUE = "b"

class Plain:
    def __init__(self, held):
        self.held, self.others = held, {"x", "y", "z"}

Pair = namedtuple("Pair", "one two")

def twice(value):
    return [value, value]

inf = float("inf")
"""
ANSWERS = (
    NAMES
    + """
import sys
from taskyard._data.values.hashing import hash_objects
for line in sys.stdin:
    print(hash_objects(eval(line)), flush=True)
"""
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
    st.text(max_size=8),
).map(repr)
hashables = st.recursive(
    st.one_of(
        scalars,
        st.dates().map(repr),
        st.datetimes().map(repr),
        st.text("abc", max_size=3).map(lambda text: f"pathlib.PurePosixPath({text!r})"),
        st.integers(0, 9).map(lambda number: f"decimal.Decimal({number})"),
        st.sampled_from(["Colour.RED", "Colour.BLUE", "Box", "twice", "len", "uuid.UUID(int=5)"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"frozenset([{', '.join(parts)}])"),
        st.lists(inner, max_size=4).map(lambda parts: f"tuple([{', '.join(parts)}])"),
        st.tuples(inner, inner).map(lambda two: f"Pair({two[0]}, {two[1]})"),
        inner.map(lambda held: f"Box({held})"),
    ),
    max_leaves=6,
)
values = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(hashables, max_size=4).map(lambda parts: f"set([{', '.join(parts)}])"),
        st.lists(st.tuples(hashables, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {held}" for key, held in pairs) + "}"
        ),
        st.lists(hashables, max_size=4).map(lambda parts: f"Counter([{', '.join(parts)}])"),
        inner.map(lambda held: f"Plain({held})"),
        inner.map(lambda held: f"twice({held})"),
    ),
    max_leaves=10,
)


def started(seed: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ANSWERS],
        env={**os.environ, "PYTHONHASHSEED": seed},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def processes() -> Iterator[list["subprocess.Popen[str]"]]:
    both = [started("1"), started("2")]
    yield both
    for process in both:
        process.communicate(timeout=30)


def key_in(process: "subprocess.Popen[str]", text: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@settings(deadline=None)  # two other processes have a say in it
@given(text=values)
def test_a_value_has_one_key_in_every_process(processes: list["subprocess.Popen[str]"], text: str) -> None:
    first, second = (key_in(process, text) for process in processes)
    assert first == second != "None"


NAMESPACE: dict[str, Any] = {"__name__": "drawn"}
exec(NAMES, NAMESPACE)


def typed(value: Any) -> Any:
    """Return a form of a value that is equal only to forms of values that are equal in all their parts."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, frozenset((typed(key), typed(held)) for key, held in value.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(typed, value))
    if isinstance(value, list | tuple):
        return kind, tuple(map(typed, value))
    if kind in (NAMESPACE["Box"], NAMESPACE["Plain"]):
        return kind, typed(value.held)
    return kind, repr(value)


@given(one=values, two=values)
def test_values_have_one_key_exactly_if_they_are_equal(one: str, two: str) -> None:
    first, second = eval(one, NAMESPACE), eval(two, NAMESPACE)
    assert (hash_objects(first) == hash_objects(second)) == (typed(first) == typed(second))


@given(text=values)
def test_an_equal_value_has_the_same_key(text: str) -> None:
    value = eval(text, NAMESPACE)
    assert hash_objects(value) == hash_objects(eval(text, NAMESPACE))
    assert hash_objects([value, value]) == hash_objects([value, eval(text, NAMESPACE)])


graphs = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size)
)


@given(edges=graphs, order=st.lists(st.integers(0, 5), max_size=6))
def test_what_stands_beside_a_circle_makes_no_difference_to_it(
    edges: list[list[int]], order: list[int]
) -> None:
    nodes: list[list[Any]] = [[number % 2] for number in range(len(edges))]
    for node, others in zip(nodes, edges, strict=True):
        node += [nodes[other] for other in others]
    chosen = [nodes[number % len(nodes)] for number in order]
    together = Contents(identity_of)
    assert [together.of(node) for node in chosen] == [Contents(identity_of).of(node) for node in chosen]
