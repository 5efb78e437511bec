"""Rows that a database can hold in no mood: it says which, and writes nothing."""

import random
from typing import Any

import pytest
from support.databases import Database
from support.storage_rows import Batches, ended, event, new_run, stored, template

from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.storage.interface import RowsRefused, Store, WriteBatch

POISONS: list[tuple[str, tuple[Any, ...], str]] = [
    ("new_runs", new_run(50, ordinal=2**63), "'ordinal' is a number of more than 32 bits"),
    ("new_runs", new_run(50, state=99), "IntegrityError"),
    ("new_runs", new_run(50, name="\ud800"), "'name' holds what is no text"),
    ("ended", ended(1, ended_us=2**63), "'ended_us' is a number of more than 64 bits"),
    ("ended", ended(1, started_us=-(2**80)), "'started_us' is a number of more than 64 bits"),
    ("events", event(1, due_us=10**22), "'due_us' is a number of more than 64 bits"),
    ("events", event(1, message="\udfff"), "'message' holds what is no text"),
    ("logs", (1, None, 2**64, 20, "root", "hello", 1), "'at_us' is a number of more than 64 bits"),
    ("dispatches", (1, "agent", b"s", 2**63, b""), "'at_us' is a number of more than 64 bits"),
    ("backlog_added", ("queue", 2**64, 1), "'priority' is a number of more than 32 bits"),
    ("cache", ("key", 1, 2**63), "'expires_us' is a number of more than 64 bits"),
    (
        "templates",
        (2**64, b"digest", b"definition", "name"),
        "'template_id' is a number of more than 32 bits",
    ),
]


def around(batch: Batches, name: str, row: tuple[Any, ...], count: int) -> tuple[WriteBatch, int]:
    """Return a batch with a row in the middle of its list, among others, and its place."""
    made = batch(
        templates=[template()],
        new_runs=[new_run(seq) for seq in range(1, count + 1)],
        ended=[ended(seq) for seq in range(2, count + 1)],
        events=[event(seq) for seq in range(1, 6)],
    )
    rows = getattr(made, name)
    place = len(rows) // 2
    rows.insert(place, row)
    return made, place


@pytest.mark.parametrize("count", [5, 80])  # the many take another way into PostgreSQL
def test_one_row_is_found_among_others_and_the_others_can_be_written(
    store: Store, batch: Batches, count: int
) -> None:
    for name, row, why in POISONS:
        poisoned, place = around(batch, name, row, count)
        with pytest.raises(RowsRefused):
            store.commit(poisoned)
        [found] = store.refused_rows(poisoned)
        assert (found.batch_list, found.place) == (name, place)
        assert why in found.why.replace("CheckViolation", "IntegrityError")
    assert stored(store, 1, 2) == [None, None]
    getattr(poisoned, name).pop(place)
    store.commit(poisoned)
    assert None not in stored(store, *range(1, count + 1))


def test_a_key_too_long_for_an_index_is_about_its_row(database: Database, batch: Batches) -> None:
    store = database.store()
    store.open()
    key = "".join(random.Random(7).choices("0123456789abcdefghijklmnopqrstuvwxyz", k=20_000))
    long = batch(new_runs=[new_run(1), new_run(2)], cache=[("short", 1, None), (key, 2, None)])
    if store.dialect == "sqlite":
        store.commit(long)
        return
    with pytest.raises(RowsRefused):
        store.commit(long)
    [found] = store.refused_rows(long)
    assert (found.batch_list, found.place, key[:9] in found.why) == ("cache", 1, False)


def test_rows_in_each_others_way_are_found(store: Store, batch: Batches) -> None:
    row = (7, "agent", b"s", 1, b"")
    twice = batch(new_runs=[new_run(1)], dispatches=[row, row])
    with pytest.raises(RowsRefused):
        store.commit(twice)
    assert [found[:2] for found in store.refused_rows(twice)] == [("dispatches", 1)]


def test_a_database_that_is_gone_is_no_matter_of_rows(
    store: Store, batch: Batches, connections: list[Any]
) -> None:
    poisoned, _ = around(batch, *POISONS[3][:2], 5)
    connections[-1].close()
    if store.dialect == "postgresql":
        with pytest.raises(StorageUnavailable):
            store.refused_rows(poisoned)
    else:
        with pytest.raises(Exception, match="closed"):
            store.refused_rows(poisoned)
