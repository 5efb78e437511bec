"""What a program makes of its modules, beside importing them, its tasks find in workers as well."""

import pytest
from support.projects import Project, cases, right

SETTINGS = """
import threading
from collections import OrderedDict, defaultdict, deque
from enum import Enum

DEBUG = False
LEVEL = None
NAMES = ["a"]
OPTIONS = {"deep": {"x": 1}}
WORDS = {"a"}
QUEUE = deque([1])
GROUPS = defaultdict(list)
ORDER = OrderedDict(a=1)
LOCK = threading.Lock()

class Config:
    limit = 1
    handlers = {}

class Options:
    def __init__(self):
        self.colour = "red"
        self.lock = None

options = Options()

def seen():
    return (
        DEBUG, LEVEL, NAMES, OPTIONS, WORDS, list(QUEUE), dict(GROUPS), dict(ORDER), Config.limit,
        sorted(Config.handlers), options.colour,
    )
"""


def test_what_a_script_sets_or_fills(project: Project) -> None:
    project.write({"settings.py": SETTINGS, "pack/__init__.py": "", "pack/inner.py": "LEVEL = 0\n"})
    right(
        project,
        """
        import pack.inner
        import settings
        from pack import inner as other
        from settings import NAMES, Config, options

        @task
        def look():
            return settings.seen(), pack.inner.LEVEL, NAMES is settings.NAMES, options is settings.options

        def agrees():
            return run(look) == look.fn()

        case("first", agrees)
        settings.DEBUG = True
        setattr(settings, "LEVEL", 3)
        case("set", agrees)
        settings.LEVEL: int = 4
        settings.LEVEL += 1
        case("set otherwise", agrees)
        NAMES.append("b")
        settings.OPTIONS["deep"]["y"] = 2
        settings.WORDS.update("bc")
        settings.QUEUE.appendleft(0)
        settings.GROUPS["a"].append(1)
        settings.ORDER["b"] = 2
        settings.ORDER.move_to_end("a")
        case("filled", agrees)
        Config.limit = 5
        Config.handlers["h"] = 1
        options.colour = "blue"
        case("attributes", agrees)
        pack.inner.LEVEL = 1
        case("in a package", agrees)
        other.LEVEL = 2
        case("by another name", agrees)

        @flow(log_prints=False)
        def between_calls():
            found = []
            for number in range(3):
                settings.LEVEL = number
                found.append(look() == look.fn())
                found.append(look.submit().result() == look.fn())
            return all(found)

        case("between calls", between_calls)
        """,
    )


def test_objects_that_a_script_imports_by_name_are_those_of_the_module(project: Project) -> None:
    project.write(
        {
            "settings.py": SETTINGS,
            "store.py": """
            import threading

            ROWS = []
            LOCK = threading.Lock()

            def add(row):
                ROWS.append(row)
            """,
        }
    )
    right(
        project,
        """
        import store
        from store import LOCK, ROWS, add

        @task
        def use(row):
            with LOCK:
                add(row)
            return ROWS is store.ROWS and LOCK is store.LOCK and ROWS[-1] == row

        add("here")

        @task
        def first():
            return ROWS[0]

        case("one object", lambda: run(use, 1))
        case("with its contents", lambda: run(first) == "here")
        """,
    )


REGISTRY = """
HANDLERS = {}
KINDS = {"a": []}

def register(name):
    def add(function):
        HANDLERS[name] = function
        return function
    return add

class Base:
    known = {}

    def __init_subclass__(cls):
        Base.known[cls.__name__] = cls

def handle(name, value):
    return HANDLERS[name](value)
"""
PLUGINS = """
from registry import Base, register

@register("plugin")
def plugin(value):
    return "plugin", value

class Other(Base):
    pass
"""


TASKS = """
import registry
from taskyard import task

@task
def handle(name, value):
    return registry.handle(name, value), sorted(registry.Base.known)

@task
def made(name):
    return registry.Base.known[name]() is not None
"""


def test_what_is_registered_in_a_module(project: Project) -> None:
    project.write(
        {
            "registry.py": REGISTRY,
            "plugins.py": PLUGINS,
            "tasks.py": TASKS,
        }
    )
    found = cases(
        project,
        """
        import plugins
        import registry
        import tasks

        FACTOR = 2

        def helper(value):
            return FACTOR * value

        @registry.register("own")
        def own(value):
            return "own", helper(value)

        class Mine(registry.Base):
            pass

        registry.KINDS["a"].append(Mine())

        @task
        def local(value):
            return registry.handle("own", value), [type(one) is Mine for one in registry.KINDS["a"]]

        case("of the script", lambda: run(tasks.handle, "own", 1))
        case("of a module", lambda: run(tasks.handle, "plugin", 1))
        case("of both", lambda: run(tasks.made, "Mine") and run(tasks.made, "Other"))
        case("in a task of the script", lambda: run(local, 2))
        FACTOR = 3
        case("changed", lambda: run(tasks.handle, "own", 1))

        @registry.register("own")
        def own(value):
            return "newer", value

        case("registered again", lambda: run(tasks.handle, "own", 1))
        """,
    )
    assert found == {
        "of the script": "(('own', 2), ['Mine', 'Other'])",
        "of a module": "(('plugin', 1), ['Mine', 'Other'])",
        "of both": "True",
        "in a task of the script": "(('own', 4), [True])",
        "changed": "(('own', 3), ['Mine', 'Other'])",
        "registered again": "(('newer', 1), ['Mine', 'Other'])",
    }


def test_what_is_registered_with_classes_and_functions_of_a_module(project: Project) -> None:
    project.write(
        {
            "models.py": """
            import abc
            from functools import singledispatch
            from taskyard import task

            class Base(abc.ABC):
                pass

            @singledispatch
            def show(value):
                return "object"

            @task
            def look(*values):
                found = [(isinstance(value, Base), show(value)) for value in values]
                return found, issubclass(int, Base), sorted(one.__name__ for one in Base.__subclasses__())
            """
        }
    )
    right(
        project,
        """
        import models

        class Mine: pass
        class Below(models.Base): pass

        def agrees(*values):
            return run(models.look, *values) == models.look.fn(*values)

        case("first", lambda: agrees(1))
        models.Base.register(Mine)
        models.show.register(Mine, lambda value: "mine")
        case("registered", lambda: agrees(1, Mine(), Below()))

        @models.show.register(int)
        def _(value): return "int"

        class More(Below): pass
        models.Base.register(type("Other", (), {}))
        case("more", lambda: agrees(1, Mine(), More()))
        """,
    )


def test_functions_that_are_replaced(project: Project) -> None:
    project.write(
        {
            "service.py": """
            def fetch():
                return "real"

            class Client:
                def get(self):
                    return "real"

                @staticmethod
                def name():
                    return "real"
            """,
            "tasks.py": """
            import service
            from taskyard import task

            @task
            def use():
                return service.fetch(), service.Client().get() + service.Client().name()
            """,
        }
    )
    found = cases(
        project,
        """
        from unittest import mock

        import service
        import tasks

        def fake():
            return "fake"

        case("first", lambda: run(tasks.use))
        with mock.patch("service.fetch", fake):
            with mock.patch.object(service.Client, "get", lambda self: "patched"):
                case("patched", lambda: run(tasks.use))
        with mock.patch.object(service.Client, "name", staticmethod(fake)):
            case("static", lambda: run(tasks.use))
        case("as before", lambda: run(tasks.use))
        service.fetch = lambda: "a lambda"
        case("a lambda", lambda: run(tasks.use))
        """,
    )
    assert found == {
        "first": "('real', 'realreal')",
        "patched": "('fake', 'patchedreal')",
        "static": "('real', 'realfake')",
        "as before": "('real', 'realreal')",
        "a lambda": "('a lambda', 'realreal')",
    }


def test_a_wrapper_that_has_the_name_of_what_it_wraps_is_said(project: Project) -> None:
    project.write(
        {
            "service.py": "def fetch():\n    return 'real'\n",
            "main.py": """
            from functools import wraps
            import service
            from taskyard import flow, task

            def wrapped(function):
                @wraps(function)
                def call():
                    return "wrapped", function()
                return call

            @task
            def use():
                return service.fetch()

            @flow
            def main():
                return use()

            service.fetch = wrapped(service.fetch)
            print(main())
            """,
        }
    )
    process = project.start("main.py", TASKYARD_LOG_LEVEL="WARNING")
    out, err = process.communicate(timeout=60)
    assert out == "real\n"
    assert "this program sets 'service.fetch', which cannot be sent to workers (a function" in err


def test_what_cannot_be_sent_is_said(project: Project) -> None:
    project.write(
        {
            "settings.py": SETTINGS,
            "main.py": """
            import threading
            import settings
            from taskyard import flow, task

            settings.DEBUG = True
            settings.LEVEL = threading.Lock()

            @task
            def look():
                return settings.DEBUG, settings.LEVEL

            @flow
            def main():
                return look()

            print(main())
            """,
        }
    )
    process = project.start("main.py", TASKYARD_LOG_LEVEL="WARNING")
    out, err = process.communicate(timeout=60)
    assert out == "(False, None)\n", "of a module all or nothing"
    assert "this program sets 'settings.LEVEL', which cannot be sent to workers (" in err
    assert err.count("cannot be sent to workers") == 1


@pytest.mark.parametrize("arguments", [["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]])
def test_what_a_test_replaces(project: Project, arguments: list[str]) -> None:
    project.write(
        {
            "settings.py": SETTINGS,
            "tasks.py": """
            import settings
            from taskyard import task

            @task
            def look():
                return settings.DEBUG
            """,
            "test_it.py": """
            import settings
            from taskyard import flow, task
            from tasks import look

            @flow
            def run():
                return look()

            def test_before():
                assert run() is False

            def test_replaced(monkeypatch):
                monkeypatch.setattr(settings, "DEBUG", True)
                assert run() is True

            def test_replaced_by_name(monkeypatch):
                monkeypatch.setattr("settings.DEBUG", 3)
                assert run() == 3

            def test_after():
                assert run() is False

            def own():
                return "own"

            @task
            def call_own():
                return own()

            @flow
            def run_own():
                return call_own()

            def fake():
                return "fake"

            def test_a_function_of_its_own(monkeypatch):
                assert run_own() == "own"
                monkeypatch.setattr("test_it.own", fake)
                assert run_own() == "fake"
            """,
        }
    )
    assert "5 passed" in project.agents(*arguments)
