"""Which run a value came from (row 57), and what that must not keep alive or link by chance."""

import enum
import gc
import threading
import weakref
from typing import Any

import pytest

from taskyard._data.values.known_results import FEW_PARTS, MOST_KNOWN, MOST_PARTS, SMALL_BYTES, KnownResults
from taskyard_contract.states import UpstreamKind

RUN, OTHER = b"r" * 16, b"o" * 16


class Thing:
    """Something that can be referred to weakly."""


class Colour(enum.Enum):
    RED = 1


def links(known: KnownResults, *given: Any, **named: Any) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    known.add_to(found, given, named)
    return found


def noted(value: Any) -> KnownResults:
    known = KnownResults()
    known.note(value, RUN)
    return known


@pytest.mark.parametrize(
    "value",
    [
        Thing(),
        [1, 2],
        (1, 2),
        {3},
        {"a": 1},
        10**6,
        2.5,
        "x" * 30,
        b"x" * 30,
        list(range(300)),
        [{"row": at} for at in range(50)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_row_57_the_same_object_is_known_and_no_equal_one(value: Any) -> None:
    known = noted(value)
    assert links(known, value) == {RUN: UpstreamKind.RESULT}
    assert links(known, some=[value]) == {RUN: UpstreamKind.RESULT}
    assert known.run_of(value) == RUN
    assert known.run_of([value]) is None
    assert links(known, 7, [Thing()], another=None) == {}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        ...,
        0,
        256,
        -5,
        "",
        "short",
        b"b",
        (),
        frozenset(),
        Colour.RED,
        Thing,
        len,
        links,
        gc,
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_row_57_what_all_share_is_not_known(value: Any) -> None:
    assert noted(value).known == {}
    assert links(noted([value, 10**6]), value) == {}


def test_row_57_parts_of_a_collection_are_known_one_level_deep() -> None:
    first, second, deep = Thing(), [1, 2], Thing()
    known = noted({"first": first, "second": second, "third": [deep]})
    assert links(known, first) == links(known, (second,)) == {RUN: UpstreamKind.RESULT}
    assert links(known, deep) == {}


def test_row_57_the_latest_run_that_gave_an_object_is_the_one() -> None:
    thing = Thing()
    known = noted(thing)
    known.note(thing, OTHER, UpstreamKind.FLOW_RESULT)
    assert links(known, thing) == {OTHER: UpstreamKind.FLOW_RESULT}


def test_row_57_an_edge_that_is_waited_for_stays_one() -> None:
    thing, found = Thing(), {RUN: int(UpstreamKind.ORDER)}
    noted(thing).add_to(found, (thing,), {})
    assert found == {RUN: UpstreamKind.ORDER}


@pytest.mark.parametrize("kind", ["object", "in a list", "in a list of many", "deep"])
def test_row_57_nothing_large_is_kept_alive(kind: str) -> None:
    thing = Thing()
    gone = weakref.ref(thing)
    many = [Thing() for _ in range(FEW_PARTS)]
    values: dict[str, Any] = {
        "object": thing,
        "in a list": [thing],
        "in a list of many": [thing, *many],
        "deep": {"a": [{"b": [thing]}]},
    }
    known = noted(values.pop(kind))
    del thing, values
    gc.collect()
    assert gone() is None
    assert links(known, Thing()) == {}


@pytest.mark.parametrize(
    "value",
    [
        "x" * SMALL_BYTES,
        list(range(SMALL_BYTES)),
        ["x" * SMALL_BYTES],
        [[at, "x" * 1_000] for at in range(MOST_PARTS)],
        {"a": {"b": "x" * SMALL_BYTES}},
    ],
    ids=["text", "numbers", "of a text", "rows", "deep"],
)
def test_row_57_large_plain_values_are_not_known_because_they_would_be_kept(value: Any) -> None:
    assert id(value) not in noted(value).known


def test_row_57_a_new_object_in_the_place_of_one_that_is_gone_is_not_taken_for_it() -> None:
    known = KnownResults()
    for _ in range(100):
        known.note(Thing(), RUN)
        assert links(known, Thing()) == {}


def test_row_57_what_is_known_is_bounded_and_the_newest() -> None:
    known = KnownResults()
    things = [Thing() for _ in range(MOST_KNOWN + 5)]
    for thing in things:
        known.note(thing, RUN)
    assert len(known.known) == MOST_KNOWN
    assert [bool(links(known, thing)) for thing in things[:6]] == [False] * 5 + [True]
    assert links(known, things[-1])


def test_row_57_exceptions_are_no_results() -> None:
    assert noted(LookupError("it failed")).known == {}


def test_row_57_threads_may_note_at_once() -> None:
    known, things = KnownResults(), [[Thing() for _ in range(600)] for _ in range(4)]

    def note(some: list[Thing]) -> None:
        for each in some:
            known.note(each, RUN)
            links(known, each)

    threads = [threading.Thread(target=note, args=(some,)) for some in things]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(known.known) == MOST_KNOWN
