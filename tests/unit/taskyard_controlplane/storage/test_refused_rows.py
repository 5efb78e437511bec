"""Which items of many are the ones that do not pass."""

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from taskyard_controlplane.storage.faults import speaks_of_rows
from taskyard_controlplane.storage.refused_rows import search


@given(st.integers(1, 200), st.data())
def test_all_that_are_bad_by_themselves_are_found_and_no_others(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    assert sorted(search(range(count), lambda items: bad.isdisjoint(items))) == sorted(bad)


@given(st.integers(2, 100), st.data())
def test_of_two_that_are_in_each_others_way_one_goes(count: int, data: st.DataObject) -> None:
    pair = data.draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2))
    assert search(range(count), lambda items: not pair <= set(items)) == [max(pair)]


def test_one_bad_item_costs_about_twice_what_all_of_them_would() -> None:
    tried = 0

    def passes(items: Sequence[int]) -> bool:
        nonlocal tried
        tried += len(items)
        return 7_001 not in items

    assert search(range(10_000), passes) == [7_001]
    assert tried < 4 * 10_000  # the whole, halves of what is refused, and the whole once more


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("Python int too large to convert to SQLite INTEGER"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        sqlite3.DataError("string or blob too big"),
        sqlite3.IntegrityError("UNIQUE constraint failed"),
        sqlite3.ProgrammingError("Error binding parameter 3: type 'dict' is not supported"),
        IntegrityError("INSERT", (), sqlite3.IntegrityError("CHECK constraint failed")),
    ],
)
def test_what_no_mood_of_the_database_can_change_is_about_rows(error: Exception) -> None:
    assert speaks_of_rows(error)


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),
        ValueError("a defect"),
    ],
)
def test_everything_else_is_not(error: Exception) -> None:
    assert not speaks_of_rows(error)
