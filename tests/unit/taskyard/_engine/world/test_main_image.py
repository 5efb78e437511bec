"""Code takes along what it reaches of the main module, each name pickled once until it has changed."""

import pickle
from typing import Any

import pytest
from support.main_modules import program, run, worker

from taskyard._engine.world import main_image
from taskyard._engine.world.main_image import Code, MainImage
from taskyard._engine.world.seen import look_at_all_now
from taskyard.exceptions import NotPicklable
from taskyard_contract import durable_names, pickling
from taskyard_contract.world.main_module import Names


class Body:
    """Stands for what executes a task."""

    main_names: Any = None

    def __init__(self, call: Any) -> None:
        self.call = call


def in_worker(code: Code) -> Any:
    return pickle.loads(code.data).call()


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were pickled."""
    names: list[str] = []
    original = pickling.pickled

    def pickled(value: Any, name: str = "") -> Any:
        names.append(name)
        return original(value, name)

    monkeypatch.setattr(main_image.pickling, "pickled", pickled)
    return names


def test_code_has_all_it_reaches_and_classes_wait() -> None:
    source = (
        "K = 2\nclass A: pass\nclass B: pass\ndef g(): return K\ndef f(): return g(), A.__name__\nunused = 1"
    )
    with program(source) as home:
        code = MainImage().code_of("f", Body(home.f))
        assert code.names == {"f", "g", "K", "A", "B"}
    with worker() as away:
        assert in_worker(code) == (2, "A")
        assert "B" not in vars(away)
        assert away.B.__name__ == "B"
        assert not hasattr(away, "unused")


WAITS = """
K = 1
class A:
    def get(self): return helper()
def helper(): return K
def f(): return 1
"""


@pytest.mark.parametrize(
    "change",
    ["class A:\n  def get(self): return 2", "K = 2", "def helper(): return 2", "class Later: pass"],
)
def test_code_holds_only_as_long_as_the_classes_that_wait_are_the_same(change: str) -> None:
    with program(WAITS) as home:
        image = MainImage()
        code = image.code_of("f", Body(home.f))
        look_at_all_now()
        assert code.seen.holds()
        run(home, change)
        look_at_all_now()
        assert not code.seen.holds()
        again = image.code_of("f", Body(home.f))
    with worker() as away:
        for one in (code, again):
            assert in_worker(one) == 1
        assert away.A().get() == (1 if "Later" in change else 2)
        assert hasattr(away, "Later") == ("Later" in change)


def test_each_name_is_pickled_once_until_it_has_changed(packed: list[str]) -> None:
    with program("K = 1\ndef g(): return K\ndef f(): return g()\ndef h(): return g()") as home:
        image = MainImage()
        image.code_of("f", Body(home.f))
        image.code_of("h", Body(home.h))
        assert sorted(filter(None, packed)) == ["K", "f", "g", "h"]
        packed.clear()
        run(home, "K = 2")
        look_at_all_now()
        code = image.code_of("f", Body(home.f))
        assert set(filter(None, packed)) <= {"K", "f", "g"}
        assert "K" in packed
    with worker():
        assert in_worker(code) == 2


def test_names_that_arguments_need_come_along_from_then_on() -> None:
    with program("class A: pass\nx = 5\ndef f(): return globals().get('x' + '')") as home:
        image = MainImage()
        assert "x" in image.code_of("f", Body(home.f), {"x"}).names
        assert "x" in image.code_of("f", Body(home.f)).names


def test_arguments_that_cannot_travel_or_be_read_do_no_harm_to_others() -> None:
    source = """
import threading
class Locked: lock = threading.Lock()
class Boom:
    def __reduce__(self): return int, ("no number",)
class Broken: value = Boom()
def f(): return 1
"""
    with program(source) as home:
        image = MainImage()
        for _ in range(2):
            image.code_of("f", Body(home.f))
            with pytest.raises(NotPicklable, match="'Locked' of the main module"):
                image.code_of("f", Body(home.f), {"Locked"})
        code = image.code_of("f", Body(home.f), {"Broken"})
    with worker() as away:
        assert in_worker(code) == 1
        with pytest.raises(ValueError, match="no number"):
            _ = away.Broken


def test_names_that_are_gone_are_gone_in_workers_too() -> None:
    with program("def f(): return x") as home:
        image = MainImage()
        run(home, "x = 1")
        first = image.code_of("f", Body(home.f))
        del home.x
        second = image.code_of("f", Body(home.f))
        assert "x" not in second.names
    with worker():
        assert in_worker(first) == 1
        with pytest.raises(NameError):
            in_worker(second)
        assert in_worker(first) == 1


def test_what_cannot_be_pickled_is_named_where_it_is_needed() -> None:
    source = "import threading\nLOCK = threading.Lock()\ndef g(): return LOCK\ndef f(): return g()"
    with program(source) as home, pytest.raises(NotPicklable) as raised:
        MainImage().code_of("f", Body(home.f))
    assert "the code of 'f' cannot be sent to a worker: 'LOCK' of the main module, a lock," in str(
        raised.value
    )


def test_what_only_annotations_name_may_be_missing() -> None:
    source = "import threading\nclass A: lock = threading.Lock()\ndef f(x: 'A' = None): return 1"
    with program(source) as home:
        code = MainImage().code_of("f", Body(home.f))
        assert code.names == {"f"}
    with worker():
        assert in_worker(code) == 1


def test_a_worker_sends_on_what_it_got_unchanged(packed: list[str]) -> None:
    with program("K = [1]\ndef g(): return K\ndef f(): return g()") as home:
        first = MainImage().code_of("f", Body(home.f))
    with worker() as away:
        pickle.loads(first.data)
        packed.clear()
        second = MainImage().code_of("f", Body(away.f))
        assert set(packed) <= {"", "K"}, "functions go on as they came"
    with worker():
        assert in_worker(second) == [1]


def test_code_that_uses_nothing_of_the_main_module_travels_alone() -> None:
    with program():
        code = MainImage().code_of("len", Body(len))
        assert code.names == set()
        assert pickle.loads(code.data).call("ab") == 2
        assert Names([]).reached == ()
        assert callable(durable_names.main_code)
