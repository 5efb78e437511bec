"""Whatever code was made of is compared with what there is now: at once or after a pause, but always."""

import logging
from types import ModuleType

import pytest
from support.main_modules import program, run

from taskyard._engine.world import seen
from taskyard._engine.world.seen import Look, Seen, look_at_all_now, look_now, seen_of
from taskyard.exceptions import FlowTimedOut
from taskyard_contract import pickling


def seen_in(home: ModuleType, name: str) -> Seen:
    return seen_of(pickling.pickled(getattr(home, name), name), name, getattr(home, name))


SOURCE = """
K = 1
rows = [1]
table = {"a": lambda: 1}
class A:
    limit = 1
    names = []
    def go(self): return 1
class Holder: pass
holder = Holder()
holder.call = lambda: 1
def defaults(rows=[], *, key={}): return rows
def make():
    value, cell = 1, [1]
    def inner(): return value, cell
    def change():
        nonlocal value
        value = 2
    return inner, change, cell
inner, change, cell = make()
def f(): return len(K), missing
"""
CHANGES = {
    "a rebound name": ("f", "K = 2"),
    "a name that was missing": ("f", "missing = 2"),
    "a name that hides one of Python": ("f", "def len(x): return 1"),
    "the value itself": ("rows", "rows = [1]"),
    "a list in place": ("rows", "rows.append(2)"),
    "code in a dictionary": ("table", "table['b'] = lambda: 2"),
    "code in an object": ("holder", "holder.call = lambda: 2"),
    "a method": ("A", "A.go = lambda self: 2"),
    "an attribute of a class": ("A", "A.limit = 2"),
    "a list of a class": ("A", "A.names.append(1)"),
    "another attribute": ("A", "A.more = 1"),
    "code of a function": ("f", "f.__code__ = (lambda: 2).__code__"),
    "an attribute of a function": ("f", "f.calls = 1"),
    "a default in place": ("defaults", "defaults.__defaults__[0].append(1)"),
    "a default by name": ("defaults", "defaults.__kwdefaults__['key']['a'] = 1"),
    "a closure": ("inner", "change()"),
    "a list in a closure": ("inner", "cell.append(2)"),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=list(CHANGES))
def test_what_has_changed_is_seen_when_a_flow_begins_and_by_all_that_look(name: str, change: str) -> None:
    with program(SOURCE) as home:
        first = seen_in(home, name)
        both = Seen.all_of([first, Seen()])
        look_at_all_now()
        assert first.holds()
        assert both.holds()
        run(home, change)
        look_at_all_now()
        assert not first.holds()
        assert not first.holds(), "once noticed it stays so"
        assert not both.holds()


@pytest.mark.parametrize("change", ["rows.append(2)", "rows = [2]"])
def test_small_values_and_names_are_compared_at_each_look(change: str) -> None:
    with program("rows = [1]") as home:
        known = seen_in(home, "rows")
        assert known.holds()
        run(home, change)
        assert not known.holds()


def test_what_is_dear_is_compared_after_a_pause_only() -> None:
    asked: list[int] = []

    def same() -> bool:
        asked.append(1)
        return True

    with program():
        known = Seen(later=[Look(seen.LONG_PAUSE_NS, same)])
        assert known.holds()
        look_at_all_now()
        assert known.holds()
        assert asked == []
        look = Look(0, same)
        known = Seen(later=[look])
        assert known.holds()
        assert asked == [1]


def test_what_takes_long_is_compared_when_a_flow_begins_and_not_each_time_somebody_waits() -> None:
    asked: list[str] = []

    def same() -> bool:
        asked.append("asked")
        return True

    with program():
        known = Seen(later=[Look(seen.LONG_PAUSE_NS - 1, same, is_dear=True)])
        look_now()
        assert known.holds()
        assert asked == []
        look_at_all_now()
        assert known.holds()
        assert asked == ["asked"]


def test_a_look_that_was_shared_tells_all_who_share_it() -> None:
    state = [True]

    def same() -> bool:
        return state[0]

    with program():
        look = Look(seen.PAUSE_NS, same)
        first, second = Seen(later=[look]), Seen(later=[look])
        state[0] = False
        look_at_all_now()
        assert [first.holds(), second.holds(), first.holds()] == [False, False, False]


def test_a_large_value_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "_said", set())
    monkeypatch.setattr(logging.getLogger("taskyard"), "propagate", True)
    with program("big = list(range(1_000_000))") as home, caplog.at_level(logging.WARNING):
        known = seen_in(home, "big")
        seen_in(home, "big")
        home.big[0] = 5
        assert known.holds(), "it is looked at later"
    assert [record.getMessage()[:24] for record in caplog.records] == ["'big' of the main module"]


def test_an_object_that_refuses_everything_is_compared_by_identity() -> None:
    source = """
class Odd:
    def __eq__(self, other): raise RuntimeError
    def __bool__(self): raise RuntimeError
    def __reduce__(self): return Odd, ()
    __hash__ = None
odd = Odd()
"""
    with program(source) as home:
        known = seen_in(home, "odd")
        look_at_all_now()
        assert known.holds()
        run(home, "odd = Odd()")
        assert not known.holds()


def test_circles_are_looked_at_once() -> None:
    with program("ring = [lambda: 1]\nring.append(ring)") as home:
        known = seen_in(home, "ring")
        look_at_all_now()
        assert known.holds()
        home.ring.append(home.ring)
        look_at_all_now()
        assert not known.holds()


def test_the_end_of_a_flow_s_time_is_not_taken_for_a_value_that_cannot_be_pickled() -> None:
    class Slow:
        def __reduce__(self) -> str:
            raise FlowTimedOut("its time is up, while this is pickled")

    with pytest.raises(FlowTimedOut):
        seen._plain(Slow())
