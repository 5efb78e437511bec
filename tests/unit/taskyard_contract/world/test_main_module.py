"""The worker's ``__main__`` has what the latest code came with, and keeps what runs have made of it."""

import pickle
import sys
from types import ModuleType

import pytest
from support.main_modules import entries_of, program, run, travelled, worker

from taskyard_contract.world import main_module
from taskyard_contract.world.main_module import Entry, Names


def entry(name: str, value: object) -> Entry:
    data = pickle.dumps(value)
    return Entry(name, data[:16] + name.encode(), data)


def gone(name: str) -> Entry:
    return Entry(name, b"", b"")


class TestBinding:
    def test_what_code_reaches_is_there_and_what_values_may_need_waits(self) -> None:
        with worker() as main:
            Names([entry("a", [1])], [entry("b", [2])]).bind()
            assert vars(main)["a"] == [1]
            assert "b" not in vars(main)
            assert main.b == [2]
            assert vars(main)["b"] == [2]

    def test_equal_content_is_the_object_that_is_there_with_all_that_runs_did_to_it(self) -> None:
        with worker() as main:
            Names([entry("a", [1])]).bind()
            main.a.append(2)
            Names([entry("a", [1]), entry("b", 3)]).bind()
            assert main.a == [1, 2]

    def test_other_content_replaces_it_and_the_former_comes_back_as_it_was_left(self) -> None:
        with worker() as main:
            first, second = Names([entry("a", [1])]), Names([entry("a", [9])])
            first.bind()
            kept = main.a
            second.bind()
            assert main.a == [9]
            first.bind()
            assert main.a is kept

    def test_other_content_of_what_is_only_waited_for_is_read_anew(self) -> None:
        with worker() as main:
            Names([], [entry("a", 1)]).bind()
            assert main.a == 1
            Names([], [entry("a", 2)]).bind()
            assert main.a == 2

    def test_what_waits_brings_what_it_refers_to_also_when_only_that_has_changed(self) -> None:
        with program("K = 1\nclass A:\n  def get(self): return helper()\ndef helper(): return K") as home:
            first = Names([], entries_of(home, "A"))
            run(home, "K = 2")
            second = Names([], entries_of(home, "A"))
        with worker() as main:
            first.bind()
            made = main.A()
            assert made.get() == 1
            second.bind()
            assert made.get() == 2

    def test_a_name_that_the_program_has_deleted_is_deleted(self) -> None:
        with worker() as main:
            Names([entry("a", 1), entry("b", 2)], [entry("c", 3)]).bind()
            Names([entry("b", 2)], [gone("a"), gone("c")]).bind()
            assert not hasattr(main, "a")
            assert not hasattr(main, "c")
            assert main.b == 2

    def test_a_deleted_name_can_come_back(self) -> None:
        with worker() as main:
            Names([entry("a", 1)]).bind()
            Names([], [gone("a")]).bind()
            Names([entry("a", 1)]).bind()
            assert main.a == 1

    def test_a_worker_that_was_told_nothing_of_the_program_makes_a_module_of_its_own(self) -> None:
        before = sys.modules["__main__"]
        with worker():
            main_module._main.module = None
            Names([entry("a", 1)]).bind()
            assert sys.modules["__main__"] is not before
            assert vars(sys.modules["__main__"])["a"] == 1

    def test_what_nobody_has_sent_is_missing_as_in_any_module(self) -> None:
        with worker() as main, pytest.raises(AttributeError, match="'__main__' has no attribute 'nope'"):
            _ = main.nope


class TestFailures:
    BROKEN = Entry("a", b"1", b"cnowhere_at_all\nx\n.")

    def test_what_cannot_be_loaded_says_its_name_and_can_be_asked_for_again(self) -> None:
        with worker() as main:
            names = Names([], [self.BROKEN])
            names.bind()
            for _ in range(2):
                with pytest.raises(ModuleNotFoundError) as raised:
                    _ = main.a
                assert "'a' of the program's main module" in raised.value.__notes__[0]
            sys.modules["nowhere_at_all"] = ModuleType("nowhere_at_all")
            try:
                vars(sys.modules["nowhere_at_all"])["x"] = 5
                assert main.a == 5
            finally:
                del sys.modules["nowhere_at_all"]

    def test_code_that_could_not_be_bound_is_bound_again_the_next_time(self) -> None:
        with worker():
            names = Names([self.BROKEN])
            for _ in range(2):
                with pytest.raises(ModuleNotFoundError):
                    names.bind()


class TestReferences:
    def test_functions_see_one_another_and_themselves(self) -> None:
        even, odd = travelled(
            "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)",
            "even",
            "odd",
        )
        assert (even(10), odd(10)) == (True, False)
        assert even.__globals__["odd"] is odd

    def test_a_class_is_itself_in_its_own_methods(self) -> None:
        kind = travelled(
            "class A:\n  def make(self): return type(self) is A and super().__init__ and A()", "A"
        )
        assert type(kind().make()) is kind

    @pytest.mark.parametrize(("base", "child"), [("Base", "Child"), ("Zbase", "Achild")])
    def test_a_base_class_that_holds_its_children_whichever_is_read_first(
        self, base: str, child: str
    ) -> None:
        source = f"class {base}: kids = []\nclass {child}({base}): pass\n{base}.kids.append({child})"
        parent, kid = travelled(source, base, child)
        assert parent.kids == [kid]
        assert kid.__mro__ == (kid, parent, object)

    def test_a_longer_circle_of_base_classes(self) -> None:
        source = "class C: kids = []\nclass B(C): pass\nclass A(B): pass\nC.kids += [A, B]\n"
        a, b, c = travelled(source, "A", "B", "C")
        assert c.kids == [a, b]
        assert a.__mro__[:3] == (a, b, c)

    def test_two_objects_that_hold_one_another(self) -> None:
        first, second = travelled(
            "class Node: pass\na = Node(); b = Node(); a.other = b; b.other = a", "a", "b"
        )
        assert first.other is second
        assert second.other is first

    def test_an_object_of_the_program_is_one_for_all_that_hold_it(self) -> None:
        source = "class Box: pass\nshared = Box()\nx = {'s': shared}\ny = [shared]\ndef f(v=shared): return v"
        shared, x, y, function = travelled(source, "shared", "x", "y", "f")
        assert x["s"] is shared
        assert y[0] is shared
        assert function() is shared

    def test_a_variable_of_a_closure_is_one_for_all_functions_that_share_it(self) -> None:
        source = """
def pair():
    n = 0
    def count():
        nonlocal n
        n += 1
    def told(): return n
    return count, told
count, told = pair()
"""
        for names in (("count", "told"), ("told", "count")):
            functions = dict(zip(names, travelled(source, *names), strict=True))
            functions["count"]()
            assert functions["told"]() == 1


class TestAltered:
    def test_each_name_that_runs_bind_or_change_is_named_once(self) -> None:
        with worker() as main:
            Names([entry("bound", 1), entry("grown", [1]), entry("same", {"a": 1})]).bind()
            assert main_module.altered() == []
            main.bound = 2
            main.grown.append(2)
            assert sorted(main_module.altered()) == ["bound", "grown"]
            main.grown.append(3)
            assert main_module.altered() == []

    def test_what_the_program_itself_has_replaced_or_deleted_was_not_altered_by_a_run(self) -> None:
        with worker():
            Names([entry("a", 1), entry("b", 2)]).bind()
            Names([], [entry("a", 5), gone("b")]).bind()
            assert main_module.altered() == []


def test_code_says_what_it_came_in_and_data_does_not() -> None:
    with program("def f(): pass\nrows = [1]") as home:
        entries = entries_of(home, "f", "rows")
    with worker() as main:
        Names(entries).bind()
        came = main_module.entry_of(main.f)
        assert came is not None
        assert came.name == "f"
        assert main_module.entry_of(main.rows) is None


def test_entries_of_a_worker_travel_on_as_they_came() -> None:
    with program("def f(): return g()\ndef g(): return 1") as home:
        run(home, "def g(): return 2")
        entries = entries_of(home, "f")
    assert [one.name for one in entries] == ["f", "g"]
    with worker() as main:
        Names(entries).bind()
        assert main.f() == 2
        again = [main_module.entry_of(main.f), main_module.entry_of(main.g)]
    assert again == entries
