import hashlib
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard._data.identity.program_code import qualified_name
from taskyard._data.values.hashing import (
    code_fingerprint,
    hash_objects,
    source_code,
    task_input_hash,
    task_key,
)
from taskyard.exceptions import HashError


def f(x: int) -> int:
    return x + 1


class Adder:
    def __call__(self, x: int) -> int:
        return x + 1


class Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def context(fn: Any = f) -> Any:
    return SimpleNamespace(task=SimpleNamespace(task_key="key", fn=fn))


def test_b5_2_task_key_is_made_of_name_function_and_tags() -> None:
    text = f"n{f.__module__}.f{['a', 'b']}"
    assert task_key("n", f, {"b", "a"}) == hashlib.md5(text.encode()).hexdigest()
    keys = {
        task_key("n", f),
        task_key("m", f),
        task_key("n", test_b5_2_task_key_is_made_of_name_function_and_tags),
    }
    assert len(keys | {task_key("n", f, ["a"])}) == 4


def test_b5_2_callable_objects_are_known_by_their_class() -> None:
    assert qualified_name(Adder()) == f"{__name__}.Adder"
    assert qualified_name(Adder().__call__) == f"{__name__}.Adder.__call__"
    assert qualified_name(partial(f, 1)) == "functools.partial"


def test_b5_4_the_order_of_keys_does_not_matter() -> None:
    assert hash_objects({"a": 1, "b": 2}) == hash_objects({"b": 2, "a": 1})
    assert hash_objects(a=1, b=2) == hash_objects(b=2, a=1)
    assert hash_objects(1, 2) != hash_objects(2, 1)


def test_b5_4_all_numbers_have_a_key() -> None:
    assert hash_objects(3 + 4j) == hash_objects(3 + 4j)
    assert hash_objects(3 + 4j) != hash_objects(3 - 4j)


def test_b5_4_what_nothing_can_write_has_no_key() -> None:
    assert hash_objects(Stubborn()) is None
    with pytest.raises(HashError, match="has no content that could be compared"):
        hash_objects(Stubborn(), raise_on_failure=True)


def test_values_of_different_types_have_different_keys() -> None:
    keys = {hash_objects(value) for value in (1, "1", True, None, [1], {1}, b"1", {"a": 1})}
    assert len(keys) == 8


def test_circular_values_have_a_key() -> None:
    circular: list[Any] = []
    circular.append(circular)
    assert hash_objects(circular) is not None


CLASSES = """
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar
from pydantic import BaseModel

@dataclass
class Point:
    x: int
    names: object = None

    def kind(self):
        return self.x in {"one", "two", "three"}

class Colour(Enum):
    RED = 1

class Model(BaseModel):
    one: int
    two: int
    three: int

class Box(Generic[TypeVar("T")]):
    pass

from taskyard._data.values.hashing import hash_objects
for value in (Point(1, {"a", "b", "c"}), Point, Colour.RED, Box()):
    print(hash_objects(value))
# As if another module had it: by value, its class holds what pydantic made of it.
import taskyard
Model.__module__, taskyard.Model = "taskyard", Model
print(hash_objects(Model(one=1, two=2, three=3)))
"""


@pytest.mark.parametrize(
    ("program", "count"),
    [
        (
            "from taskyard._data.values.hashing import hash_objects\n"
            "print(hash_objects({'names': {'a', 'b', 'c'}, 'more': [frozenset({'x', 'y'}), b'z']}))",
            1,
        ),
        (CLASSES, 5),
    ],
    ids=["values", "classes of the program"],
)
def test_keys_do_not_depend_on_the_process(program: str, count: int) -> None:
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1
    assert [len(key) for key in keys.pop().split()] == [32] * count


def test_row_18_input_hash_depends_on_task_code_and_arguments() -> None:
    def g(x: int) -> int:
        return x - 1

    key = task_input_hash(context(), {"x": 1})
    assert key == task_input_hash(context(), {"x": 1})
    assert key != task_input_hash(context(), {"x": 2})
    assert key != task_input_hash(context(g), {"x": 1})


def test_row_18_input_hash_of_arguments_without_a_form_is_none() -> None:
    assert task_input_hash(context(), {"x": Stubborn()}) is None


def test_code_of_callable_objects_and_builtins() -> None:
    class Other:
        def __call__(self, x: int) -> int:
            return x + 2

    assert code_fingerprint(Adder()) == code_fingerprint(Adder())
    assert code_fingerprint(Adder()) != code_fingerprint(Other())
    assert code_fingerprint(len) != code_fingerprint(max)
    assert code_fingerprint(partial(f, 1)) != code_fingerprint(partial(f, 2))


def test_b5_5_without_source_text_there_is_the_code() -> None:
    assert source_code(f) == "def f(x: int) -> int:\n    return x + 1\n"
    assert source_code(Adder()).startswith("class Adder:")
    namespace: dict[str, Any] = {}
    exec("def one(): return 1\ndef two(): return 2", namespace)
    assert source_code(namespace["one"]) == source_code(namespace["two"]) == ""
    assert code_fingerprint(namespace["one"]) != code_fingerprint(namespace["two"])


def test_why_there_is_no_key_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    task = SimpleNamespace(task_key="said once", name="f", fn=f)
    for _ in range(3):
        assert task_input_hash(SimpleNamespace(task=task), {"x": Stubborn()}) is None
    assert [record.getMessage() for record in caplog.records] == [
        "a run of 'f' is not cached: cannot compute a key: a value has no content that could be compared "
        "(not me)"
    ]
