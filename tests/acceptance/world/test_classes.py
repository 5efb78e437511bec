"""Classes of a script are in a worker what they are in the script, and come back as the same."""

from support.projects import Project, right

DATA = """
import collections, dataclasses, typing

@dataclasses.dataclass(slots=True)
class Slots:
    x: int
    rows: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int

class Plain:
    __slots__ = ("a", "__hidden")
    def __init__(self):
        self.a, self.__hidden = 1, 2
    def hidden(self):
        return self.__hidden

class Below(Plain):
    __slots__ = ("c", "__weakref__")

@dataclasses.dataclass
class Words:
    x: int = dataclasses.field(default_factory=lambda: LIMIT)
    _: dataclasses.KW_ONLY
    other: "Words | None" = None

LIMIT = 5
Made = dataclasses.make_dataclass("Made", ["x"])
Dynamic = type("CallsItselfOtherwise", (), {"v": 1})
Old = collections.namedtuple("Old", "a b")

class Named(typing.NamedTuple):
    a: int
    b: str = "q"

class Keys(typing.TypedDict, total=False):
    a: int

@task
def look(slots, below, words, made, dynamic, old, named):
    return (
        type(slots) is Slots and slots == Slots(1) and not hasattr(slots, "__dict__"),
        type(below) is Below and below.hidden() == 2 and not hasattr(below, "__dict__"),
        words == Words(x=5) == dataclasses.replace(Words(), x=5),
        typing.get_type_hints(Words)["other"] == Words | None,
        type(made) is Made and type(dynamic) is Dynamic and dynamic.v == 1,
        type(old) is Old and old._replace(a=3) == Old(3, 2),
        type(named) is Named and named == Named(1) and Named._fields == ("a", "b"),
        Keys(a=1) == {"a": 1} and not Keys.__total__,
    )

values = Slots(1), Below(), Words(), Made(1), Dynamic(), Old(1, 2), Named(1)
case("look", lambda: run(look, *values))
for value in (Slots(1), Frozen(2), Words(), Old(1, 2), Named(3)):
    case(f"back {value}", lambda: (run(same, value) == value, type(run(same, value)) is type(value)))
for value in (Below(), Dynamic(), Made(2)):
    case(f"back {type(value).__name__}", lambda: type(run(same, value)) is type(value))
case("slots", lambda: run(same, Below()).hidden() == 2)
"""


def test_dataclasses_slots_and_tuples(project: Project) -> None:
    right(project, DATA)


ENUMS = """
import enum

class Plain(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = enum.auto()
    @classmethod
    def _missing_(cls, value):
        return cls.RED
    @property
    def nice(self):
        return self.name.lower()

class Planet(enum.Enum):
    EARTH = (1.0, 2.0)
    MARS = (3.0, 4.0)
    def __init__(self, mass, radius):
        self.mass, self.radius = mass, radius

class Coordinate(bytes, enum.Enum):
    X = (0, "first")
    Y = (1, "second")
    def __new__(cls, value, label):
        member = bytes.__new__(cls, [value])
        member._value_, member.label = value, label
        return member

class Flags(enum.Flag):
    R = enum.auto()
    W = enum.auto()
    RW = R | W

class Bits(enum.IntFlag):
    A = 1
    B = 2

class Text(str, enum.Enum):
    ONE = "one"

class Word(enum.StrEnum):
    TWO = enum.auto()

class Holder:
    class Kind(enum.Enum):
        K = 1
    kind = Kind.K

@task
def look(red, earth):
    return (
        red is Plain.RED is Plain.CRIMSON and red.nice == "red",
        list(Plain.__members__) == ["RED", "CRIMSON", "BLUE"] and len(Plain) == 2,
        Plain(99) is Plain.RED and Plain(2) is Plain.BLUE,
        earth is Planet.EARTH is Planet((1.0, 2.0)) and earth.mass == 1.0,
        Coordinate(1) is Coordinate.Y and Coordinate.Y == b"\\x01" and Coordinate.X.label == "first",
        Flags.R | Flags.W is Flags.RW and Bits(3) == Bits.A | Bits.B,
        Text("one") is Text.ONE == "one" and Word("two") is Word.TWO,
        Holder.kind is Holder.Kind.K and Holder.Kind.__qualname__ == "Holder.Kind",
    )

case("look", lambda: run(look, Plain.RED, Planet.EARTH))
kinds = Plain, Planet, Coordinate, Flags, Bits, Text, Word, Holder.Kind
for member in (one for kind in kinds for one in kind):
    case(f"back {member.name}", lambda: run(same, member) is member)
case("class", lambda: run(same, Planet) is Planet)
"""


def test_enums(project: Project) -> None:
    right(project, ENUMS)


GENERICS = """
from __future__ import annotations
import abc, typing

T = typing.TypeVar("T", bound="Base")
P = typing.ParamSpec("P")
Ts = typing.TypeVarTuple("Ts")
UserId = typing.NewType("UserId", int)

class Base: pass

class Box(typing.Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

class IntBox(Box[int]): pass

class Goes(typing.Protocol):
    def go(self) -> int: ...

@typing.runtime_checkable
class Checked(Goes, typing.Protocol): ...

class Goer:
    def go(self): return 5

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Square(Shape):
    def area(self): return 4

class Virtual: pass
Shape.register(Virtual)

def makes(kind):
    try:
        return kind() is not None
    except TypeError:
        return False

@task
def look(box: Box[T], goer: Goes, *ids: UserId) -> P.args:
    return (
        type(box) is IntBox and isinstance(box, Box) and IntBox.__orig_bases__ == (Box[int],),
        Box.__parameters__ == (T,) and typing.get_type_hints(Box.__init__)["value"] is T,
        typing.get_type_hints(look.fn)["goer"] is Goes and UserId(3) == 3,
        isinstance(goer, Checked) and not isinstance(3, Checked),
        isinstance(Virtual(), Shape) and issubclass(Square, Shape) and Square().area() == 4,
        makes(Square) and not makes(Shape) and not makes(Goes),
        (P.__name__, Ts.__name__, UserId.__name__) == ("P", "Ts", "UserId"),
    )

case("look", lambda: run(look, IntBox(2), Goer()))
for value in (T, P, Ts, UserId, Box, Goes, Shape, Virtual):
    case(f"back {value}", lambda: run(same, value) is value)
for value in (Box[int], typing.Optional[Goer], list[Base], dict[UserId, T]):
    case(f"back {value}", lambda: run(same, value) == value)
"""


def test_generics_protocols_and_abstract_classes(project: Project) -> None:
    right(project, GENERICS)


HEARS = """
class Base:
    known = {}
    def __init_subclass__(cls, *, key, **more):
        super().__init_subclass__(**more)
        Base.known[key] = cls

class A(Base, key="a"): pass
class B(A, key="b"):
    __slots__ = ("x",)

class Heard:
    names = []
    def __init_subclass__(cls):
        Heard.names.append(cls.__name__)

class First(Heard): pass
class Failed(Heard, Exception): pass

class Meta(type):
    made = []
    def __new__(meta, name, bases, namespace, *, tag):
        kind = super().__new__(meta, name, bases, namespace)
        kind.tag = tag
        meta.made.append(name)
        return kind
    def __init__(kind, name, bases, namespace, *, tag):
        super().__init__(name, bases, namespace)
    def __call__(kind, *args):
        made = super().__call__(*args)
        made.called = True
        return made

class Tagged(metaclass=Meta, tag="t"): pass
class Lower(Tagged, tag="u"): pass

@task
def look(b, first, lower):
    return (
        Base.known == {"a": A, "b": B} and type(b) is B and B.__mro__ == (B, A, Base, object),
        Heard.names == ["First", "Failed"] and Failed.__mro__[:3] == (Failed, Heard, Exception),
        type(lower) is Lower and (Tagged.tag, Lower.tag) == ("t", "u") and lower.called,
        Meta.made == ["Tagged", "Lower"] and type(Tagged) is Meta and Tagged().called,
    )

@task
def makes():
    class C(Base, key="c"): pass
    return list(Base.known) == ["a", "b", "c"]

case("look", lambda: run(look, B(), First(), Lower()))
case("makes", lambda: run(makes))
case("back", lambda: type(run(same, Lower())) is Lower and run(same, Failed) is Failed)
"""


def test_classes_that_hear_of_classes_hear_of_each_once(project: Project) -> None:
    right(project, HEARS)


NESTED = """
import functools

class Outer:
    class Inner:
        class Deep:
            value = 3
        def __init__(self):
            self.z = 9

class Rich:
    count = 0
    @property
    def p(self): return 1
    @staticmethod
    def s(x): return x + 1
    @classmethod
    def c(cls): return cls.__name__
    @functools.cached_property
    def cached(self): return [3]
    @functools.lru_cache
    def counted(self): return 4
    @functools.singledispatchmethod
    def m(self, x): return "other"
    @m.register
    def _(self, x: int): return "int"
    part = functools.partialmethod(lambda self, a, b: (a, b), 1)
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name

class Own:
    def __eq__(self, other): raise RuntimeError("no comparing")
    def __bool__(self): raise RuntimeError("no truth")
    __hash__ = None

own = Own()

@task
def look(inner, rich):
    return (
        type(inner) is Outer.Inner and inner.z == 9,
        Outer.Inner.Deep.__qualname__ == "Outer.Inner.Deep",
        (rich.p, rich.s(1), rich.c(), rich.cached, rich.counted()) == (1, 2, "Rich", [3], 4),
        (rich.m(1), rich.m("x"), rich.part(4), rich.anything) == ("int", "other", (1, 4), "anything"),
        type(own) is Own,
    )

case("look", lambda: run(look, Outer.Inner(), Rich()))
case("nested", lambda: type(run(same, Outer.Inner())) is Outer.Inner)
case("deep", lambda: run(same, Outer.Inner.Deep) is Outer.Inner.Deep)

@flow(log_prints=False)
def local():
    class Local:
        def __eq__(self, other): return type(other) is type(self)
        __hash__ = None
    back = same(Local())
    return type(back) is Local, back == Local(), type(back).__qualname__ == "local.<locals>.Local"

case("local", local)

@task
def makes():
    class Made:
        limit = LIMIT
    return Made

LIMIT = 4
case("makes", lambda: run(makes).limit == 4)
"""


def test_nested_and_local_classes(project: Project) -> None:
    right(project, NESTED)


def test_base_classes_that_hold_their_children(project: Project) -> None:
    right(
        project,
        """
        class Zoo:
            kinds = []
        class Ape(Zoo): pass
        Zoo.kinds.append(Ape)
        Zoo.first = Ape

        class Node: pass
        a, b = Node(), Node()
        a.other, b.other = b, a

        @task
        def look(ape):
            return (
                type(ape) is Ape and Zoo.kinds == [Ape] and Ape.first is Ape and ape.kinds is Zoo.kinds,
                a.other is b and b.other is a,
            )

        case("look", lambda: run(look, Ape()))
        case("back", lambda: type(run(same, Ape())) is Ape)
        """,
    )


def test_models_of_pydantic_and_values_that_say_their_name(project: Project) -> None:
    right(
        project,
        """
        import pydantic

        class User(pydantic.BaseModel):
            name: str
            age: int = 3
            friend: "User | None" = None
            @pydantic.field_validator("age")
            @classmethod
            def _check(cls, value):
                if value < 0:
                    raise ValueError("negative")
                return value
            @pydantic.computed_field
            @property
            def double(self) -> int:
                return self.age * 2

        class Missing:
            def __reduce__(self):
                return "MISSING"

        MISSING = Missing()

        @task
        def look(user, missing=MISSING, default=User(name="d")):
            return (
                type(user) is User and user.double == 6 and User(name="q", friend=user).friend is not None,
                User.model_validate({"name": "z"}).age == 3 and missing is MISSING and default.name == "d",
            )

        @task
        def refuses():
            User(name="a", age=-1)

        def refused():
            try:
                run(refuses)
            except pydantic.ValidationError as error:
                return error.error_count() == 1

        case("look", lambda: run(look, User(name="n")))
        case("passed", lambda: run(look, User(name="n"), MISSING))
        case("back", lambda: run(same, User(name="n")) == User(name="n") and run(same, MISSING) is MISSING)
        case("refused", refused)
        """,
    )


HELD = """
import abc, enum
from functools import singledispatch

class Held:
    limit = 1
    names = []
    gone = 1
    def get(self): return "first"

class Below(Held):
    def get(self): return super().get(), "below"

class Abstract(abc.ABC): pass
class Virtual: pass

KNOWN = (Held, Below)
TABLE = {Held: "held"}
KEPT = Held()

@singledispatch
def told(value): return "object"
@told.register
def _(value: Held): return "held"

def default(value, known={Held: 1}): return known.get(type(value))

@task
def look(value):
    held = Held if value is None else type(value)
    return (
        isinstance(value, KNOWN), TABLE.get(type(value)), told(value), default(value), type(KEPT) is held,
        held.limit, list(held.names), hasattr(held, "gone"), Below().get(), isinstance(Below(), Held),
        [one.__name__ for one in Held.__subclasses__()], isinstance(Virtual(), Abstract),
        issubclass(int, Abstract),
    )

def agrees():
    return run(look, None) == look.fn(None), run(look, Held()) == look.fn(Held())

case("first without an object", agrees)
Held.limit = 2
Held.names.append("a")
case("attributes", agrees)
del Held.gone
case("one less", agrees)
Held.get = lambda self: "second"
case("a method", agrees)
Abstract.register(Virtual)
case("registered", agrees)
Abstract.register(int)
case("registered again", agrees)
Held.limit = 1
case("as before", agrees)
class Later(Held): pass
case("a later one", agrees)
class Held:
    limit = 3
    names = ["c"]
case("another class of that name", agrees)
"""


def test_a_class_is_one_class_for_all_that_hold_it_whatever_becomes_of_it(project: Project) -> None:
    right(project, HELD)


def test_what_tasks_change_of_classes_is_said(project: Project) -> None:
    project.write(
        {
            "main.py": """
            from taskyard import flow, task

            class Count:
                number = 0
                seen = []

            class Same:
                number = 0

            @task
            def count():
                Count.number += 1
                return Same.number

            @task
            def note():
                Count.seen.append(1)

            @flow
            def main():
                count()
                note()

            main()
            """
        }
    )
    process = project.start("main.py", TASKYARD_LOG_LEVEL="WARNING")
    _, err = process.communicate(timeout=60)
    assert "a run has changed 'Count' of the main module" in err
    assert "'Same'" not in err


def test_generic_models(project: Project) -> None:
    right(
        project,
        """
        from typing import Generic, TypeVar
        from pydantic import BaseModel

        T, U = TypeVar("T"), TypeVar("U")

        class Box(BaseModel, Generic[T]):
            value: T

        class Pair(BaseModel, Generic[T, U]):
            one: T
            other: U

        Named = Box[str]

        @task
        def made():
            return Box[int](value=1), Pair[int, Named](one=1, other=Named(value="x"))

        @task
        def take(box, pair):
            return type(box) is Box[int], isinstance(pair, Pair[int, Box[str]]), type(pair.other) is Named

        case("results", lambda: [type(one) for one in run(made)] == [Box[int], Pair[int, Box[str]]])
        case("arguments", lambda: run(take, *made.fn()))
        """,
    )
