"""What results carry along: by identity, for a while, and for no other object."""

import gc
import weakref
from typing import Any

import pytest

from taskyard._engine.assets.asset import Asset
from taskyard._engine.submission import passing_assets
from taskyard._engine.submission.passing_assets import NONE, Passed

A = frozenset([Asset("s3://a")])
B = frozenset([Asset("s3://b")])


class Thing:
    """Something that has weak references."""


def test_b18_the_very_object_carries_assets() -> None:
    passed = Passed()
    value, thing = [1, 2], Thing()
    passed.note_values([value, thing, "text"], A)
    assert passed.of_value(value) == passed.of_value(thing) == A
    assert passed.of_value([1, 2]) == passed.of_value(Thing()) == NONE
    passed.note_values([value], B)
    assert passed.of_value(value) == B


@pytest.mark.parametrize("value", [1, True, None, "", "a", b"", (), frozenset(), ...])
def test_b18_objects_that_stand_for_equal_values_carry_nothing(value: Any) -> None:
    passed = Passed()
    passed.note_values([value], A)
    assert passed.of_value(value) == NONE


def test_values_of_long_ago_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_assets, "_MOST_VALUES", 2)
    passed, thing = Passed(), Thing()
    gone = weakref.ref(thing)
    kept = [thing]
    again: list[Any] = ["again"]
    passed.note_values([kept], A)
    passed.note_values([again], A)
    passed.note_values([again], B)
    del kept, thing
    gc.collect()
    assert gone() is None
    passed.note_values([["other"]], B)
    assert passed.of_value(again) == B, "it was returned once more since"
    passed.note_values([["another"]], B)
    assert passed.of_value(again) == NONE


def test_runs_of_long_ago_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_assets, "_MOST_RUNS", 2)
    passed = Passed()
    for number in range(3):
        passed.note_run(bytes([number]), A)
    assert [passed.of_run(bytes([number])) for number in range(3)] == [NONE, A, A]


def test_a_value_with_weak_references_is_not_kept() -> None:
    passed, thing = Passed(), Thing()
    gone = weakref.ref(thing)
    passed.note_values([thing], A)
    del thing
    gc.collect()
    assert gone() is None
