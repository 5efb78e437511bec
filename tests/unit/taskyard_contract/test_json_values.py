"""JSON holds what it holds, and nothing changes silently on the way."""

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from taskyard_contract.languages.json_values import (
    REFERENCE,
    NotJson,
    Reference,
    dumps,
    dumps_arguments,
    loads,
    loads_arguments,
)

RUN = UUID(int=7).bytes


class Level(IntEnum):
    HIGH = 2


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    inside: Any = None


class Model(BaseModel):
    day: date


class Broken(BaseModel):
    value: Any


TEXT = st.text(alphabet=st.characters(codec="utf-8"))
KEYS = TEXT | st.sampled_from(["$taskyard.run", "$$taskyard.run", "$taskyard.x", "$", "$$"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


def same(value: Any) -> Any:
    return value


def none_expected(run_id: bytes) -> Any:
    raise AssertionError(f"nobody referred to {run_id!r}")


@given(VALUES)
def test_what_json_holds_comes_back(value: Any) -> None:
    assert loads(dumps(value)) == value


@given(st.lists(VALUES, max_size=3), st.dictionaries(KEYS, VALUES, max_size=3))
def test_arguments_come_back_whatever_their_keys_are(args: list[Any], kwargs: dict[str, Any]) -> None:
    data = dumps_arguments(tuple(args), kwargs, same)
    assert loads_arguments(data, none_expected) == (tuple(args), kwargs)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ((1, (2,)), "[1,[2]]"),
        (Level.HIGH, "2"),
        (Colour.RED, '"red"'),
        (Point(1, Point(2)), '{"x":1,"inside":{"x":2,"inside":null}}'),
        (Model(day=date(2026, 1, 2)), '{"day":"2026-01-02"}'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00Z"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.50"), '"1.50"'),
        (Path("a/b"), '"a/b"'),
        (OrderedDict(b=1, a="ä"), '{"b":1,"a":"ä"}'),
    ],
)
def test_values_with_a_usual_form_are_written_in_it(value: Any, written: str) -> None:
    assert dumps(value).decode() == written


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"a": [0, {1}]}, "['a'][1]", "a set has no form in JSON"),
        ([b"x"], "[0]", "a bytes has no form"),
        ({"a": {1: 2}}, "['a']", "its key 1 is a int, and keys in JSON are text"),
        ([math.nan], "[0]", "nan is no number"),
        (Point(1, [math.inf]), ".inside[0]", "inf is no number"),
        ("\ud800", "", "surrogate"),
        ({"\ud800": 1}, r"['\ud800']", "surrogate"),
        ([10**5000], "[0]", "so many digits"),
        (CIRCLE, "", "contains itself"),
        (Broken(value=object()), "", "a Broken cannot be written"),
        (print, "", "a builtin_function_or_method has no form"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, path: str, why: str) -> None:
    with pytest.raises(NotJson) as caught:
        dumps(value)
    assert caught.value.path == path
    assert why in caught.value.why


def test_no_arguments_are_no_bytes() -> None:
    assert dumps_arguments((), {}, same) == b""
    assert loads_arguments(b"", none_expected) == ((), {})
    assert loads_arguments(b"{}", none_expected) == ((), {})
    assert loads_arguments(b'{"args":[1]}', none_expected) == ((1,), {})


def test_references_are_found_at_any_depth_and_their_values_are_left_alone() -> None:
    mark = object()

    def replace(part: Any) -> Any:
        return Reference(RUN) if part is mark else part

    data = dumps_arguments(([{"a": mark}], mark), {"k": {"b": [mark]}}, replace)
    assert json.loads(data)["args"][1] == {REFERENCE: str(UUID(bytes=RUN))}
    value = {"$taskyard.run": "looks like one", "$$taskyard.x": 1}
    args, kwargs = loads_arguments(data, {RUN: value}.__getitem__)
    assert args == ([{"a": value}], value)
    assert kwargs == {"k": {"b": [value]}}


def test_a_reference_written_in_another_way_is_the_same() -> None:
    text = f'{{"args": [{{"\\u0024taskyard.run": "{UUID(bytes=RUN).hex.upper()}"}}]}}'
    assert loads_arguments(text.encode(), {RUN: 5}.__getitem__) == ((5,), {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1]", "an object"),
        ('{"arg": []}', "an object"),
        ('{"args": {}}', "a list in"),
        ('{"kwargs": []}', "an object in"),
        ('{"args": [{"$taskyard.run": "x"}]}', "does not name a run"),
        ('{"args": [{"$taskyard.run": 5}]}', "does not name a run"),
        ('{"args": [{"$taskyard.run": "x", "more": 1}]}', "reserved"),
        ('{"args": [{"$taskyard.other": 1}]}', "reserved"),
        ("{", "Expecting"),
    ],
)
def test_arguments_in_another_form_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        loads_arguments(text.encode(), none_expected)


def test_what_stands_for_a_part_keeps_its_kind() -> None:
    made = {"yes": True, "no": False, "none": None, "text": "t", "number": 1}
    marks = {name: object() for name in made}

    def replace(part: Any) -> Any:
        return next((made[name] for name, mark in marks.items() if mark is part), part)

    data = dumps_arguments((), marks, replace)
    assert data == b'{"kwargs":{"yes":true,"no":false,"none":null,"text":"t","number":1}}'


def test_text_is_written_as_it_is_and_not_as_its_class_shows_it() -> None:
    class Name(str, Enum):  # shows itself in another way than a StrEnum
        FIRST = "first"

    class Secret(str):
        def __str__(self) -> str:
            return "***"

    assert dumps({Name.FIRST: Name.FIRST, Secret("key"): Secret("value")}) == (
        b'{"first":"first","key":"value"}'
    )
