"""Entries of the cache, as people look at them and remove them."""

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, Batches, ended, new_run, run_id, template

from taskyard_contract.errors import NotOwner
from taskyard_controlplane.storage.interface import Reader, Store


def fill(store: Store, batch: Batches, *keys: str, expires_us: int | None = None) -> None:
    """Make an entry for each key, of a run that ended a microsecond after the one before."""
    seqs = range(1, len(keys) + 1)
    store.commit(
        batch(
            templates=[template()],
            new_runs=[new_run(seq) for seq in seqs],
            ended=[ended(seq, ended_us=NOW_US + seq) for seq in seqs],
            cache=[(key, seq, expires_us) for seq, key in enumerate(keys, start=1)],
        )
    )


def keys_in(reader: Reader) -> list[str]:
    return [entry.cache_key for entry in reader.cache.page("", 100).entries]


def test_an_entry_is_read_with_the_run_that_computed_it(
    store: Store, database: Database, batch: Batches
) -> None:
    fill(store, batch, "one", "two", expires_us=NOW_US + 9)
    found = database.reader().cache.get("two")
    assert found is not None
    assert (found.cache_key, found.expires_us, found.listed.run.run_id) == ("two", NOW_US + 9, run_id(2))
    assert database.reader().cache.get("three") is None
    assert database.reader().cache.get("two\0") is None


def test_entries_are_read_page_by_page(store: Store, database: Database, batch: Batches) -> None:
    keys = [f"key {number:02}" for number in range(7)]
    fill(store, batch, *keys)
    reader, seen, after = database.reader(), list[str](), ""
    while True:
        page = reader.cache.page(after, 3)
        seen += [entry.cache_key for entry in page.entries]
        if page.last_key is None:
            break
        after = page.last_key
    assert seen == keys


def test_entries_whose_run_is_gone_are_passed_over(store: Store, database: Database, batch: Batches) -> None:
    fill(store, batch, "a", "c")
    store.commit(batch(cache=[("b", 99, None)]))
    page = database.reader().cache.page("", 2)
    assert [entry.cache_key for entry in page.entries] == ["a"]
    assert page.last_key == "b"
    assert database.reader().cache.get("b") is None


def test_a_removed_entry_is_a_miss_until_there_is_a_new_one(store: Store, batch: Batches) -> None:
    fill(store, batch, "one", "two")
    assert [store.cache.remove(key) for key in ("one", "one", "one\0")] == [1, 0, 0]
    found = store.commit(batch(lookup_keys=["one", "two"])).cached
    assert [entry.cache_key for entry in found] == ["two"]
    store.commit(batch(cache=[("one", 2, None)]))
    assert [entry.run_seq for entry in store.commit(batch(lookup_keys=["one"])).cached] == [2]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_entries_are_removed_part_by_part(
    store: Store, database: Database, batch: Batches, limit: int
) -> None:
    fill(store, batch, "a", "b", "c", "d")
    store.commit(batch(cache=[("of nobody", 99, None)]))
    removed, after, parts = 0, "", 0
    while True:
        part = store.cache.remove_part(after, NOW_US + 3, limit)
        removed, parts = removed + part.removed, parts + 1
        if part.last_key is None:
            break
        after = part.last_key
    assert (removed, parts) == (3, 5 // limit + 1)
    assert keys_in(database.reader()) == ["c", "d"]
    assert store.cache.remove_part("", None, 100).removed == 2
    assert keys_in(database.reader()) == []


def test_many_entries_are_removed_at_once(store: Store, database: Database, batch: Batches) -> None:
    fill(store, batch, *(f"{number:04}" for number in range(1200)))
    assert store.cache.remove_part("", None, 1100) == (1100, "1099")
    assert store.cache.remove_part("1099", None, 1100) == (100, None)


def test_who_is_not_the_owner_any_more_removes_nothing(
    store: Store, database: Database, batch: Batches
) -> None:
    fill(store, batch, "one")
    database.replace_owner()
    with pytest.raises(NotOwner):
        store.cache.remove("one")
    with pytest.raises(NotOwner):
        store.cache.remove_part("", None, 10)
    assert keys_in(database.reader()) == ["one"]
