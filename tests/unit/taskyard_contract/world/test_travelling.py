"""Code is written as a reference where it has a name, and otherwise onto the globals of its own module."""

import os
import pickle
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.main_modules import entries_of, program, travelled, worker
from support.pickle_names import names_in

from taskyard_contract import pickling
from taskyard_contract.parts import making
from taskyard_contract.world import bound_methods, main_module
from taskyard_contract.world.main_module import Names

MODULE = """
import functools

COUNT = 0

def bump():
    global COUNT
    COUNT += 1
    return COUNT

def wrapped(function):
    @functools.wraps(function)
    def inner(*args): return ("wrapped", function(*args))
    return inner

@wrapped
def decorated(x): return x + bump()

TABLE = {"lambda": lambda: bump()}

def make(n):
    def local(): return bump(), n
    return local

class Kind:
    class Inner: pass
    def method(self): return bump()
    @staticmethod
    def static(): return bump()

LIMIT = 1
replaced = bump
def bump_again(): return LIMIT
kept = bump_again
def bump_again(): return None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "module_of_tests.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("module_of_tests")
    del sys.modules["module_of_tests"]


def back(value: Any) -> Any:
    return pickle.loads(pickling.dumps_by_value(value))


class TestModules:
    @pytest.mark.parametrize(
        "path", ["bump", "Kind", "Kind.Inner", "Kind.method", "Kind.static", "decorated"]
    )
    def test_what_has_a_name_is_a_reference(self, module: Any, path: str) -> None:
        value = module
        for name in path.split("."):
            value = getattr(value, name)
        assert back(value) is value

    def test_what_lies_behind_a_decorator_is_found_behind_its_name(self, module: Any) -> None:
        inner = module.decorated.__wrapped__
        assert back(inner) is inner

    def test_a_lambda_and_a_local_function_use_the_globals_of_the_module_itself(self, module: Any) -> None:
        assert back(module.TABLE["lambda"])() == 1
        assert back(module.make(7))() == (2, 7)
        assert module.COUNT == 2

    def test_a_function_that_was_replaced_is_still_itself(self, module: Any) -> None:
        old = back(module.kept)
        assert old is not module.bump_again
        assert old() == 1
        assert old.__globals__ is vars(module)

    @pytest.mark.parametrize("name", ["randint", "random", "shuffle", "seed"])
    def test_a_method_that_a_module_keeps_under_its_name_is_a_reference(self, name: str) -> None:
        method = getattr(random, name)
        assert back(method) is method
        assert not main_module.is_changing(method)

    def test_a_method_of_an_object_of_ones_own_brings_the_object(self) -> None:
        own = random.Random(5)
        there = back(own.randint)
        assert there.__self__ is not own
        assert there(0, 10**9) == random.Random(5).randint(0, 10**9)
        assert main_module.is_changing(own.randint)

    def test_a_method_that_was_replaced_in_its_module_brings_its_object(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = random.randint
        monkeypatch.setattr(random, "randint", lambda low, high: low)
        assert bound_methods.place_of(kept) is None

    @pytest.mark.parametrize("value", [len, "a".upper, [].append, dict.fromkeys, print, 5, lambda: 1])
    def test_nothing_else_is_taken_for_one(self, value: object) -> None:
        assert bound_methods.place_of(value) is None

    def test_a_module_that_was_made_by_hand_is_taken_along(self) -> None:
        made = ModuleType("made_by_hand")
        made.value = 5  # type: ignore[attr-defined]
        assert back(made).value == 5


class TestMain:
    def test_all_else_of_the_main_module_is_a_name(self) -> None:
        with program("K = 1\nclass A: pass\ndef g(): return A\ndef f(): return g, K, missing") as home:
            packed = pickling.pickled(home.f, "f")
        assert packed.entry.names == ("K", "g", "missing")
        assert [function.__name__ for function in packed.functions] == ["f"]

    @pytest.mark.parametrize(
        "source",
        [
            "def f(x: 'A', y: 'list[\"A\"]' = None): pass",
            "class f:\n  x: 'A'\n  y: 'dict[str, \"A\"]'",
            "def f():\n  import __main__\n  return __main__.A",
            "def f(): return globals()['A']",
            "def f(): return eval('A()')",
            "def f():\n  class Made: kind = A",
        ],
        ids=["annotations", "class", "module", "globals", "eval", "class body"],
    )
    def test_names_that_may_be_looked_for_are_wished(self, source: str) -> None:
        with program("class A: pass\n" + source) as home:
            assert "A" in pickling.pickled(home.f, "f").entry.wished

    def test_what_python_provides_is_not_missed_but_known(self) -> None:
        with program("def f(): return len(print), list") as home:
            packed = pickling.pickled(home.f, "f")
        assert packed.entry.names == ()
        assert packed.builtins == {"len", "print", "list"}

    def test_arguments_name_what_they_refer_to(self) -> None:
        source = """
            import typing
            class A: pass
            class B: pass
            def f(): pass
            T = typing.TypeVar("T")
            UserId = typing.NewType("UserId", int)
            class Missing:
                def __reduce__(self): return "MISSING"
            MISSING = Missing()
        """
        with program(textwrap.dedent(source)) as home:
            value = [home.A(), {"b": home.B}, home.f, home.T, home.UserId, home.MISSING]
            assert pickling.names_in(value) == {"A", "B", "f", "T", "UserId", "MISSING"}
            assert pickling.names_in([1, "__main__", print]) == set()

    def test_an_argument_with_code_names_what_the_code_needs(self) -> None:
        with program("K = 1\nclass A: pass\nmake = lambda: (lambda: (A, K))") as home:
            assert pickling.names_in(home.make()) == {"A", "K"}

    def test_values_come_back_as_what_the_program_has(self) -> None:
        with program("class A:\n  x = 1\nclass Outer:\n  class Inner: pass\nmake = lambda: 1") as home:
            entries = entries_of(home, "A", "Outer", "make")
            with worker() as away:
                Names(entries).bind()
                data = pickling.dumps([away.A(), away.Outer.Inner, away.make])
            instance, inner, make = pickle.loads(data)
            assert type(instance) is home.A
            assert inner is home.Outer.Inner
            assert make is home.make


class TestParts:
    def test_slots_are_slots(self) -> None:
        kind = travelled(
            "class A:\n  __slots__ = ('a', '__b')\n  def __init__(self): self.a = self.__b = 1", "A"
        )
        assert not hasattr(kind(), "__dict__")
        assert kind()._A__b == 1

    def test_qualified_names_stay(self) -> None:
        kind = travelled("class A:\n  class B:\n    class C: pass", "A")
        assert kind.B.C.__qualname__ == "A.B.C"

    def test_base_classes_and_metaclasses_do_not_hear_of_a_class_again(self) -> None:
        source = """
            class Base:
                heard = []
                def __init_subclass__(cls, *, key): Base.heard.append(key)
            class A(Base, key=1): pass
            class B(A, ValueError, key=2): __slots__ = ()
            class Meta(type):
                made = []
                def __new__(meta, name, bases, namespace, *, tag):
                    meta.made.append(tag)
                    return super().__new__(meta, name, bases, namespace)
                def __init__(cls, name, bases, namespace, *, tag): pass
            class C(metaclass=Meta, tag=3): pass
        """
        base, b, meta, c = travelled(textwrap.dedent(source), "Base", "B", "Meta", "C")
        assert base.heard == [1, 2]
        assert b.__bases__[1] is ValueError
        assert meta.made == [3]
        assert type(c) is meta

    def test_members_of_enums_are_not_made_anew(self) -> None:
        source = """
            import enum
            COUNTED = []
            class E(enum.Enum):
                A = (1, 2)
                ALSO_A = (1, 2)
                B = (3, 4)
                def __init__(self, x, y):
                    COUNTED.append(x)
                    self.sum = x + y
            class F(int, enum.Enum):
                X = (1, "one")
                def __new__(cls, value, text):
                    made = int.__new__(cls, value)
                    made._value_, made.text = value, text
                    return made
        """
        counted, e, f = travelled(textwrap.dedent(source), "COUNTED", "E", "F")
        assert counted == [1, 1, 3]
        assert (e.A.sum, e.B.sum, e.ALSO_A is e.A, e((3, 4)) is e.B) == (3, 7, True, True)
        assert (f.X, f.X.text, f(1) is f.X) == (1, "one", True)

    def test_functions_of_functools(self) -> None:
        source = """
            import functools
            @functools.lru_cache(maxsize=3)
            def cached(x): return x * K
            K = 2
            @functools.singledispatch
            def kind(x): return "other"
            @kind.register
            def _(x: int): return "int"
            class A:
                @functools.cached_property
                def value(self): return [K]
        """
        cached, kind, a = travelled(textwrap.dedent(source), "cached", "kind", "A")
        assert (cached(4), cached.cache_parameters()["maxsize"]) == (8, 3)
        assert (kind(1), kind("x")) == ("int", "other")
        instance = a()
        assert instance.value is instance.value


SAME_ID = """
import sys
sys.path[:0] = {path!r}
from support.main_modules import entries_of, program

SOURCE = '''
import dataclasses, enum, typing
T = typing.TypeVar("T")
NAMES = {{"a", "b", "c", "d"}}
class Kind(typing.Generic[T]):
    def has(self, x): return x in {{"one", "two", "three", "four"}}
@dataclasses.dataclass
class Row:
    x: int
    y: list = dataclasses.field(default_factory=list)
class E(enum.Enum):
    A = 1
def f(x, *, key=None): return x in ("p", "q") and Kind, Row(1), E.A
'''
with program(SOURCE) as home:
    for one in entries_of(home, "f", "T"):
        print(one.name, one.content.hex())
"""


def test_an_open_file_is_refused_and_not_replaced_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("1")
    with (tmp_path / "rows.txt").open() as file:
        for value in (file, [file], lambda: file):
            with pytest.raises(pickle.PicklingError, match=r"an open file \('.*rows.txt'\)"):
                pickling.dumps(value)
    assert pickling.loads(pickling.dumps(lambda: sys.stdout))() is sys.stdout


def test_equal_code_has_equal_ids_in_all_processes() -> None:
    text = SAME_ID.format(path=[one for one in sys.path if one])
    said = {
        subprocess.run(
            [sys.executable, "-c", text],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1, said


def test_code_for_a_worker_brings_its_names_along() -> None:
    with program("K = 2\ndef f(): return K") as home:
        code = making.main_code(entries_of(home, "f"), [], pickling.dumps_by_value(Body(home.f)))
    with worker():
        loaded = pickle.loads(code)
        assert loaded.call() == 2
        vars(main_module.current())["K"] = 3
        assert loaded.call() == 3


class Body:
    """Stands for what executes a task."""

    main_names: Any = None

    def __init__(self, call: Any) -> None:
        self.call = call


def test_payloads_name_nothing_private(module: Any) -> None:
    with program("class A:\n  __slots__ = ()\nclass B(A): pass\nf = lambda: B") as home:
        data = b"".join(one.data for one in entries_of(home, "f"))
    named = {
        name.partition(":")[0]
        for part in data.split(b"\x80\x05")[1:]
        for name in names_in(b"\x80\x05" + part)
    }
    ours = {name for name in named if name.startswith("taskyard")}
    assert ours <= {"taskyard_contract.durable_names"}
