"""What a script or a notebook changes of its globals, its tasks see at the next call, as at home."""

import pytest
from support.projects import Project, cases, right

VALUES = """
import collections, types

RATE = 1
rows, options, words = [1], {"a": {"b": 1}}, {"x"}
counter = collections.Counter()
space = types.SimpleNamespace(a=1)

class Settings:
    limit = 1
    names = []
    nested = {"deep": []}

class Thing: pass

thing = Thing()
thing.inner = Thing()
thing.inner.value = 1

@task
def look():
    return (
        RATE, list(rows), options["a"]["b"], sorted(words), dict(counter), space.a,
        Settings.limit, list(Settings.names), list(Settings.nested["deep"]), thing.inner.value,
    )

def agrees():
    return run(look) == look.fn()

case("first", agrees)
RATE = 2
case("bound", agrees)
rows.append(2)
case("list", agrees)
options["a"]["b"] = 2
case("dict", agrees)
words.add("y")
case("set", agrees)
counter["a"] += 1
case("counter", agrees)
space.a = 2
case("namespace", agrees)
Settings.limit = 2
case("attribute", agrees)
Settings.names.append("n")
case("list of a class", agrees)
Settings.nested["deep"].append("n")
case("nested in a class", agrees)
thing.inner.value = 2
case("object", agrees)

@flow(log_prints=False)
def between_calls():
    global RATE
    found = []
    for RATE in (5, 6):
        rows.append(RATE)
        found.append(look() == look.fn())
        found.append(look.submit().result() == look.fn())
    return all(found)

case("between calls", between_calls)
"""


def test_values_that_are_bound_again_or_change_in_place(project: Project) -> None:
    right(project, VALUES)


CODE = """
import functools

def helper(x): return x + 1
def defaults(rows=[], *, key={}): return list(rows), dict(key)
def counted(): return counted.calls
counted.calls = 1
TABLE = {"a": lambda x: x + 1}

class Thing:
    def go(self): return 1

class Holder: pass

holder = Holder()
holder.call = lambda: 1
holder.calls = [lambda: 1]

@functools.singledispatch
def kind(x): return "other"

@functools.lru_cache(maxsize=3)
def cached(x): return x * FACTOR

FACTOR = 1
partial = functools.partial(lambda a, b: (a, b, FACTOR), 1)
made = collections_of = None
handlers = {}

def register(function):
    handlers[function.__name__] = function
    return function

@register
def first(x): return x + FACTOR

@task
def look():
    return (
        helper(1), defaults(), counted(), [call(1) for call in TABLE.values()], Thing().go(),
        holder.call(), [call() for call in holder.calls], kind("x"), partial(2), len([1, 2]),
        {name: handler(1) for name, handler in handlers.items()}, cached.__wrapped__(3),
    )

def agrees():
    return run(look) == look.fn()

case("first", agrees)
def helper(x): return x + 2
case("function", agrees)
defaults.__defaults__[0].append(1)
defaults.__kwdefaults__["key"]["a"] = 1
case("defaults", agrees)
counted.calls = 2
case("attribute", agrees)
TABLE["b"] = lambda x: x + 100
case("added lambda", agrees)
TABLE["a"] = lambda x: x - 1
case("replaced lambda", agrees)
Thing.go = lambda self: 2
case("method", agrees)
holder.call = lambda: 2
case("lambda of an object", agrees)
holder.calls[0] = lambda: 2
case("lambda in an object", agrees)
@kind.register
def _(x: str): return "text"
case("registered", agrees)
FACTOR = 7
case("used by others", agrees)
@register
def second(x): return -x
case("handler", agrees)
def len(x): return 99
case("hides a name of Python", agrees)
del len
case("shows it again", agrees)

def changes():
    cell = [1]
    value = 1
    @task
    def local(): return cell[0], value
    before = run(local)
    cell[0] = value = 2
    return before == (1, 1) and run(local) == (2, 2)

case("closure", changes)
"""


def test_code_that_is_defined_again_or_changes_in_place(project: Project) -> None:
    right(project, CODE)


def test_names_that_come_and_go(project: Project) -> None:
    found = cases(
        project,
        """
        def late(): return missing + 1

        @task
        def look(): return late()

        case("before", lambda: run(look))
        missing = 1
        case("there", lambda: run(look))
        del missing
        case("gone", lambda: run(look))
        missing = 5
        case("again", lambda: run(look))
        """,
    )
    assert (found["there"], found["again"]) == ("2", "6")
    assert found["before"] == found["gone"] == "NameError: name 'missing' is not defined"


def test_classes_that_only_values_of_other_runs_are_made_of(project: Project) -> None:
    right(
        project,
        """
        K = 1

        def helper(): return K

        class Shape:
            def area(self): return helper()

        @task
        def make(): return Shape()

        @task
        def measure(shape): return shape.area(), type(shape).__name__

        @flow(log_prints=False)
        def through_two():
            return measure.submit(make.submit()).result()

        case("first", lambda: through_two() == (1, "Shape"))
        K = 2
        case("a global of a method", lambda: through_two() == (2, "Shape"))
        class Shape:
            def area(self): return 3
        case("the class", lambda: through_two() == (3, "Shape"))
        Shape.area = lambda self: 4
        case("a method", lambda: through_two() == (4, "Shape"))
        class Other(Shape): pass
        def make_other(): return Other()
        make = task(make_other)
        case("a new class", lambda: through_two() == (4, "Other"))
        """,
    )


def test_names_that_functions_among_the_arguments_use(project: Project) -> None:
    right(
        project,
        """
        import functools, math, operator

        ONE, TWO, THREE, FOUR, FIVE = 1, 2, 3, 4, 5
        def one(): return ONE
        def two(): return TWO
        def deep(): return two() + THREE
        def four(): return FOUR
        def down(n): return (lambda: down(n - 1))() if n else FIVE
        kept = [lambda: math.floor(2.5)]

        @task
        def call(*given): return sum(each() for each in given)

        @task
        def make(n): return lambda: operator.add(four(), n)

        def inner(n): return lambda: one() + n

        @flow(log_prints=False)
        def by_map(): return call.map([lambda: one(), lambda: deep()]).result()

        case("a lambda", lambda: run(call, lambda: one()) == 1)
        case("one of a list", lambda: run(call, *kept) == 2)
        case("what those use in their turn", lambda: run(call, lambda: deep(), lambda: one()) == 6)
        case("a closure", lambda: run(call, inner(5)) == 6)
        case("a part of another object", lambda: run(call, functools.partial(lambda n: n + down(1), 1)) == 6)
        case("children of a map", lambda: by_map() == [1, 5])
        case("what another run has made", lambda: run(call, run(make, 1)) == 5)
        ONE = 7
        case("bound again", lambda: run(call, lambda: one()) == 7)
        """,
    )


def test_names_that_functions_among_the_arguments_look_up_otherwise(project: Project) -> None:
    right(
        project,
        """
        import threading

        ONE, TWO, THREE, FOUR, FIVE = 1, 2, 3, 4, 5
        LOCK = threading.Lock()

        @task
        def call(given): return given()

        def local_class():
            class Local:
                one = ONE
                def two(self):
                    class Inner: two = TWO
                    return Inner.two
            return Local

        case("in the body of a class", lambda: run(call, lambda kind=local_class(): kind().two()) == 2)
        case("in a text", lambda: run(call, lambda: eval("THREE + 1")) == 4)
        case("in what globals() gives", lambda: run(call, lambda: globals()["FOUR"]) == 4)
        case("the text is no use", lambda: run(call, lambda: ("LOCK", globals().get("FIVE"))[1]) == 5)
        """,
    )


def test_names_that_are_looked_up_otherwise(project: Project) -> None:
    right(
        project,
        """
        import sys

        CONST, OTHER, THIRD, FOURTH = 8, 9, 10, 11
        len = lambda x: 42
        class list(list):
            def extra(self): return "mine"

        @task
        def look():
            import __main__
            namespace = {}
            exec("def inner(): return FOURTH", globals(), namespace)
            return (
                __main__.CONST == getattr(__main__, "CONST") == sys.modules["__main__"].CONST == 8,
                globals()["OTHER"] == 9 and eval("THIRD + 1") == 11 and namespace["inner"]() == 11,
                len([1]) == 42 and list([1]).extra() == "mine" and __name__ == "__main__",
            )

        case("look", lambda: run(look))
        """,
    )


PLACES = """
import asyncio, functools

def doubled(function):
    @functools.wraps(function)
    def inner(*args): return function(*args) * 2
    return inner

def outside(of):
    @functools.wraps(of.fn)
    def call(*args): return ("outside", of(*args))
    return call

@task
@doubled
def below(x): return x + 1

@outside
@task
def above(x): return x + 2

class Service:
    k = 7
    def __init__(self, v=1): self.v = v
    @task
    def method(self, x): return self.v + x + Service.k
    @staticmethod
    @task
    def static(x): return x + Service.k
    @classmethod
    @task
    def of_class(cls, x): return cls.__name__, x + cls.k
    helper = task(lambda x: x * 3)

looped = []
for i in range(3):
    @task
    def one(x): return x * i
    looped.append(one)

def make(n):
    @task
    def one(x): return x * n
    return one

made = [make(n) for n in range(3)]

@task
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)

@task
async def later(n):
    await asyncio.sleep(0)
    return Service(n).v

@flow(log_prints=False)
async def in_loop(): return await later(4)

@task
def calls_flow(x): return inner(x)

@flow(log_prints=False)
def inner(x): return [below(x), type(same(Service())) is Service]

@task
def generates():
    def generate():
        yield from (Service(n) for n in range(2))
    return [type(one) is Service for one in generate()]

case("below", lambda: run(below, 1) == 4)
case("above", lambda: run(above, 1) == ("outside", 3))
case("method", lambda: run(lambda: Service(4).method(2)) == 13)
case("static", lambda: run(lambda: Service.static(2)) == 9)
case("of class", lambda: run(lambda: Service.of_class(2)) == ("Service", 9))
case("attribute", lambda: run(lambda: Service.helper(2)) == 6)
case("loops", lambda: run(lambda: [t(2) for t in looped + made]) == [4, 4, 4, 0, 2, 4])
case("backwards", lambda: run(lambda: [t(7) for t in reversed(made)]) == [14, 7, 0])
case("lambda", lambda: run(task(lambda x, y=Service: (x, y.__name__)), 1) == (1, "Service"))
case("deep", lambda: run(deep, 3) == 3)
case("async", lambda: asyncio.run(in_loop()) == 4)
case("flow in a task", lambda: run(calls_flow, 1) == [4, True])
case("generator", lambda: run(generates) == [True, True])
case("result with code", lambda: run(task(lambda: lambda x: x + Service.k))(1) == 8)
"""


def test_tasks_in_odd_places(project: Project) -> None:
    right(project, PLACES)


NOTEBOOK = """
import linecache, sys
CELLS = {cells!r}
for number, cell in enumerate(CELLS):
    name = f"<cell-{{number}}>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
    try:
        exec(compile(cell, name, "exec"), vars(sys.modules["__main__"]))
    except Exception as error:
        print(type(error).__name__, error)
"""
CELLS = [
    "from taskyard import flow, task\nfrom dataclasses import dataclass\nFACTOR = 1\n"
    "@dataclass\nclass Point:\n    x: int\n"
    "@task\ndef scale(point):\n    return Point(point.x * FACTOR)\n"
    "@flow\ndef program(call, *args):\n    return call(*args)\n"
    "print(program(scale, Point(3)))",
    "FACTOR = 10\nprint(program(scale, Point(3)))",
    "@dataclass\nclass Point:\n    x: int\n    y: int = 7\n"
    "print(program(scale, Point(3)), type(program(scale, Point(3))) is Point)",
    "def helper(x):\n    return later(x)\n@task\ndef calls(x):\n    return helper(x)\n"
    "print(program(calls, 1))",
    "def later(x):\n    return x + 100\nprint(program(calls, 1))",
    "def helper(x):\n    return later(x) * FACTOR\nprint(program(calls, 1))",
    "del later\nprint(program(calls, 1))",
]


def test_the_cells_of_a_notebook(project: Project) -> None:
    project.write({"notebook.py": NOTEBOOK.format(cells=CELLS)})
    assert project.both("notebook.py").splitlines() == [
        "Point(x=3)",
        "Point(x=30)",
        "Point(x=30, y=7) True",
        "NameError name 'later' is not defined",
        "101",
        "1010",
        "NameError name 'later' is not defined",
    ]


@pytest.mark.parametrize("what", ["threading.Lock()", "(x for x in [])", "threading.local()"])
def test_what_cannot_travel_is_named_where_it_is_used_and_nowhere_else(project: Project, what: str) -> None:
    project.write(
        {
            "main.py": f"""
            import threading
            from taskyard import flow, task
            from taskyard.exceptions import NotPicklable

            THING = {what}

            @task
            def uses():
                return bool(THING)

            @task
            def other():
                return 1

            @flow
            def program():
                try:
                    uses()
                except NotPicklable as error:
                    return str(error), other()

            print(*program())
            """
        }
    )
    said = project.agents("main.py")
    assert "the code of 'uses' cannot be sent to a worker: 'THING' of the main module" in said
    assert said.endswith(" 1\n")
