"""Which changes of a program's text are changes of a task's code."""

import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from taskyard import task
from taskyard._data.identity import known_code
from taskyard._data.values.hashing import code_fingerprint, hash_objects
from taskyard.exceptions import HashError

PROGRAM = """
import functools
import helpers
from dataclasses import dataclass
from enum import Enum
from taskyard import task

RATE = 3
TABLE = {"a": [1, 2]}
LOCK = __import__("threading").Lock()
count = 0

def inner(x):
    return x * 2

def helper(x, more=(1, 2)):
    return inner(x)

class Base:
    def cost(self):
        return 10

class Order(Base):
    kind = "plain"

    def total(self):
        return self.cost() + RATE

class Colour(Enum):
    RED = 1

@functools.lru_cache
def kept(x):
    return x + 100

@task
def other(x):
    return x + 200

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def f(x):
    return helper(x)

def uses_class(x):
    return Order().total()

def uses_rate(x):
    return [RATE for _ in range(x)]

def uses_table(x):
    return TABLE["a"]

def uses_module(x):
    return helpers.tools.compute(x)

def uses_enum(x):
    return Colour.RED

def uses_kept(x):
    return kept(x)

def uses_task(x):
    return other(x)

def uses_lock(x):
    with LOCK:
        return x

def counts(x):
    global count
    count += 1
    return x

def recursive(n):
    return even(n)

def nested(x):
    def within():
        return inner(x)
    return within()
"""


@pytest.fixture(autouse=True)
def helpers() -> Iterator[dict[str, Any]]:
    """A module of the program, with another one in it."""
    module, tools = ModuleType("helpers"), ModuleType("helpers.tools")
    exec("def compute(x): return deeper(x)\ndef deeper(x): return x\nunused = 1", vars(tools))
    module.tools = tools  # type: ignore[attr-defined]  # as an import would set it
    sys.modules.update({"helpers": module, "helpers.tools": tools})
    yield vars(tools)
    del sys.modules["helpers"], sys.modules["helpers.tools"]


def program(old: str = "", new: str = "") -> dict[str, Any]:
    assert old in PROGRAM
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(PROGRAM.replace(old, new) if old else PROGRAM, "program.py", "exec"), names)
    return names


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("inner", "x * 2", "x * 3"),
        ("f", "x * 2", "x * 3"),
        ("f", "more=(1, 2)", "more=(1, 3)"),
        ("uses_class", "return 10", "return 11"),
        ("uses_class", 'kind = "plain"', 'kind = "other"'),
        ("uses_class", "RATE = 3", "RATE = 4"),
        ("uses_rate", "RATE = 3", "RATE = 4"),
        ("uses_rate", "RATE = 3", "RATE = 3.0"),
        ("uses_table", "[1, 2]", "[1, 3]"),
        ("uses_enum", "RED = 1", "RED = 2"),
        ("uses_kept", "x + 100", "x + 101"),
        ("uses_task", "x + 200", "x + 201"),
        ("recursive", "n != 0 and", "n > 0 and"),
        ("nested", "x * 2", "x * 3"),
        ("nested", "return inner(x)", "return helper(x)"),
    ],
)
def test_what_a_function_uses_counts(name: str, old: str, new: str) -> None:
    before, after = program()[name], program(old, new)[name]
    assert code_fingerprint(before) == code_fingerprint(program()[name])
    assert code_fingerprint(before) != code_fingerprint(after)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("f", "RATE = 3", "RATE = 4"),
        ("uses_rate", "x * 2", "x * 3"),
        ("f", "import functools", "import functools\n\n\n# moved down"),
        ("uses_lock", "Lock()", "Lock()  # another one"),
        ("counts", "count = 0", "count = 7"),
    ],
)
def test_what_it_does_not_use_does_not_count(name: str, old: str, new: str) -> None:
    assert code_fingerprint(program()[name]) == code_fingerprint(program(old, new)[name])


@pytest.mark.parametrize(
    ("name", "old", "new"), [("uses_rate", "RATE = 3", "RATE = 4"), ("f", "x * 2", "x * 3")]
)
def test_alone_a_function_is_what_it_says_itself(name: str, old: str, new: str) -> None:
    one, two = program()[name], program(old, new)[name]
    assert code_fingerprint(one, alone=True) == code_fingerprint(two, alone=True)


@pytest.mark.parametrize("body", ["x + 2", "x - 1", "abs(x)", "y + 1", "x in {'a', 'b'}"])
def test_alone_constants_and_names_count(body: str) -> None:
    def made(text: str) -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def f(x): return {text}", names)
        return code_fingerprint(names["f"], alone=True)

    assert made(body) == made(body)
    assert made(body) != made("x + 1")


def test_functions_behind_modules_of_the_program_count(helpers: dict[str, Any]) -> None:
    function = program()["uses_module"]
    before = code_fingerprint(function)
    helpers["unused"] = 2
    assert code_fingerprint(function) == before
    exec("def deeper(x): return x + 1", helpers)
    assert code_fingerprint(function) != before


def test_globals_that_change_are_noticed() -> None:
    names = program()
    seen = [code_fingerprint(names["uses_table"])]
    names["TABLE"]["a"].append(3)
    seen.append(code_fingerprint(names["uses_table"]))
    names["TABLE"] = {"a": [1, 2]}
    assert code_fingerprint(names["uses_table"]) == seen[0] != seen[1]


def test_helpers_that_are_defined_again_are_noticed() -> None:
    names = program()
    before = code_fingerprint(names["f"])
    exec("def inner(x): return x * 3", names)
    changed = code_fingerprint(names["f"])
    exec("def inner(x): return x * 2", names)
    assert code_fingerprint(names["f"]) == before != changed


def test_what_was_found_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    function = program()["f"]
    before = code_fingerprint(function)
    monkeypatch.setattr(known_code, "keep", lambda *args: pytest.fail("looked at again"))
    assert code_fingerprint(function) == before


def maker(factor: object) -> Any:
    def times(x: int, *, less: object = factor) -> object:
        return x, factor

    return times


def test_closures_and_defaults_count() -> None:
    for alone in (False, True):
        prints = {code_fingerprint(maker(factor), alone=alone) for factor in (2, 3, [2], [3], print, maker)}
        assert len(prints) == 6
        assert code_fingerprint(maker([2]), alone=alone) in prints


def test_a_closure_that_changes_is_noticed() -> None:
    held = [1]
    function = maker(held)
    before = code_fingerprint(function)
    held.append(2)
    assert code_fingerprint(function) != before


def test_a_closure_that_cannot_be_compared_makes_no_key() -> None:
    with pytest.raises(HashError, match=r"cannot pickle '_thread\.lock' object"):
        code_fingerprint(maker(threading.Lock()))


def test_what_decorators_of_packages_keep_need_not_be_comparable() -> None:
    import functools

    names: dict[str, Any] = {"__name__": "json", "functools": functools, "LOCK": threading.Lock()}
    exec(
        "def decorated(fn, lock):\n"
        "    @functools.wraps(fn)\n"
        "    def inside(*args):\n"
        "        with lock:\n"
        "            return fn(*args)\n"
        "    return inside\n",
        names,
    )
    one, two = (names["decorated"](maker(n), threading.Lock()) for n in (1, 2))
    assert code_fingerprint(one) == code_fingerprint(one)
    assert code_fingerprint(one) != code_fingerprint(two)


def test_functions_of_one_name_are_told_apart() -> None:
    def both(first: int, second: int) -> Any:
        names = {"__name__": "__main__", "g": maker(first), "h": maker(second)}
        exec("def f(x): return g(x), h(x)", names)
        return code_fingerprint(names["f"])

    assert both(2, 3) == both(2, 3)
    assert len({both(2, 3), both(3, 2), both(2, 2)}) == 3


def test_tables_of_functions_count() -> None:
    def with_table(text: str) -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def g(x): return {text}\nTABLE = {{'g': g}}\ndef f(x): return TABLE['g'](x)", names)
        return code_fingerprint(names["f"])

    assert with_table("x") == with_table("x") != with_table("x + 1")


def test_a_table_that_leads_back_ends() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(x): return TABLE['g'](x)\ndef g(x): return TABLE['f'](x)\nTABLE = {'f': f, 'g': g}", names)
    assert code_fingerprint(names["f"]) != code_fingerprint(names["g"])


def test_values_of_the_programs_classes_are_known_with_their_code() -> None:
    order, same, edited = (program(*change)["Order"]() for change in ((), (), ("return 10", "return 11")))
    assert hash_objects(order) == hash_objects(same) != hash_objects(edited)
    assert hash_objects(order) == hash_objects(program()["Order"]())


def test_two_lambdas_of_one_line_are_two() -> None:
    one, two = task(lambda x: x + 1), task(lambda x: x + 2)  # fmt: skip
    assert code_fingerprint(one.fn) != code_fingerprint(two.fn)


def test_instances_inside_of_their_class_are_the_same_whoever_is_first() -> None:
    def made() -> tuple[Any, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec("class A:\n    def all(self): return ALL\nALL = [A()]\nALL[0].x = 1", names)
        return names["A"], names["ALL"][0]

    kind, instance = made()
    first = hash_objects(instance)
    kind, instance = made()
    hash_objects(kind)
    assert hash_objects(instance) == first


REGISTRY = """
class C{number}:
    def all(self):
        return [REGISTRY, NAMES, {number}]
"""


def with_registry(count: int, last: str = "0") -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    for number in range(count):
        exec(REGISTRY.format(number=number if number < count - 1 else last), names)
    kinds = [kind for name, kind in names.items() if name.startswith("C")]
    names["REGISTRY"] = {kind.__name__: kind for kind in kinds}
    names["NAMES"] = {kind: kind.__name__ for kind in kinds}
    names["KINDS"] = set(kinds)
    exec("def f(x): return REGISTRY[x], KINDS", names)
    return names


def test_classes_that_know_each_other_by_a_table_are_looked_at_once() -> None:
    assert code_fingerprint(with_registry(40)["f"]) == code_fingerprint(with_registry(40)["f"])
    assert code_fingerprint(with_registry(40)["f"]) != code_fingerprint(with_registry(40, "77")["f"])
    names = with_registry(40)
    assert hash_objects([names["C1"](), names["C2"]()]) == hash_objects([names["C1"](), names["C2"]()])


def test_a_table_whose_functions_are_replaced_is_noticed() -> None:
    names = with_registry(3)
    before = code_fingerprint(names["f"])
    exec("class C1:\n    pass", names)
    assert code_fingerprint(names["f"]) == before
    names["REGISTRY"]["C1"] = names["C1"]
    assert code_fingerprint(names["f"]) != before


def test_a_helper_may_hold_what_cannot_be_compared() -> None:
    def program_with(helper: Any) -> str:
        names = {"__name__": "__main__", "helper": helper}
        exec("def f(x): return helper(x)", names)
        return code_fingerprint(names["f"])

    one, two, other = (maker(held) for held in (threading.Lock(), threading.Lock(), [1]))
    assert program_with(one) == program_with(two) != program_with(other)
