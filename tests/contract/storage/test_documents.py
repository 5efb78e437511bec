"""Cold documents: changed by the owner, for whoever has seen what he changes, and found by their prefix."""

import pytest
from support.databases import Database
from support.storage_rows import NOW_US

from taskyard_contract.errors import InvalidRequest, NotOwner
from taskyard_controlplane.storage.interface import Document, Store, VersionConflict
from taskyard_controlplane.storage.interface.documents import MAX_BODY_BYTES, MAX_NAME_BYTES, NEW

KIND = "limit"


def put(store: Store, name: str, version: int = NEW, body: bytes = b"1", now_us: int = NOW_US) -> Document:
    return store.documents.put(KIND, name, version, body, now_us)


def test_a_document_is_read_back_as_it_was_put(store: Store) -> None:
    stored = put(store, "näme/with \\ and {braces}", body=bytes(range(256)))
    assert stored == Document(KIND, "näme/with \\ and {braces}", NOW_US, NOW_US, bytes(range(256)))
    assert store.documents.get(KIND, stored.name) == stored
    assert store.documents.get("other kind", stored.name) is None
    assert store.documents.get(KIND, "other name") is None


def test_a_change_needs_the_version_it_changes(store: Store) -> None:
    first = put(store, "db")
    with pytest.raises(VersionConflict, match=f"limit 'db' is in version {first.version}"):
        put(store, "db", first.version + 1, b"2")
    second = put(store, "db", first.version, b"2")
    assert second.version > first.version
    with pytest.raises(VersionConflict):
        put(store, "db", first.version, b"3")
    assert store.documents.get(KIND, "db") == second


def test_a_new_document_must_not_exist_and_a_changed_one_must(store: Store) -> None:
    with pytest.raises(VersionConflict, match="does not exist"):
        put(store, "db", 17)
    put(store, "db")
    with pytest.raises(VersionConflict, match="for a new one"):
        put(store, "db", NEW, b"2")


def test_a_change_that_nobody_heard_of_can_be_repeated(store: Store) -> None:
    first = put(store, "db")
    assert put(store, "db") == first
    second = put(store, "db", first.version, b"2", NOW_US + 5)
    assert put(store, "db", first.version, b"2", NOW_US + 5) == second
    store.documents.delete(KIND, "db", second.version)
    store.documents.delete(KIND, "db", second.version)
    assert store.documents.get(KIND, "db") is None


def test_a_deletion_needs_the_version_it_deletes(store: Store) -> None:
    first = put(store, "db")
    second = put(store, "db", first.version, b"2")
    with pytest.raises(VersionConflict):
        store.documents.delete(KIND, "db", first.version)
    assert store.documents.get(KIND, "db") == second


def test_who_knew_a_deleted_document_does_not_overwrite_its_successor(store: Store) -> None:
    first = put(store, "db")
    store.documents.delete(KIND, "db", first.version)
    put(store, "db", NEW, b"other", NOW_US + 1)
    with pytest.raises(VersionConflict):
        put(store, "db", first.version, b"2")


def test_a_clock_that_stands_still_makes_new_versions_all_the_same(store: Store) -> None:
    first = put(store, "db")
    second = put(store, "db", first.version, b"2", NOW_US)
    third = put(store, "db", second.version, b"3", NOW_US - 1_000_000)
    assert first.version < second.version < third.version


def test_documents_are_listed_by_prefix_in_pages(store: Store) -> None:
    names = ["a", "team", "team/", "team/B", "team/a", "team/é", "team/\U0001f600", "team0", "teams"]
    for name in reversed(names):
        put(store, name)
    store.documents.put("other kind", "team/x", NEW, b"", NOW_US)
    assert [one.name for one in store.documents.page(KIND)] == names
    inside = [name for name in names if name.startswith("team/")]
    assert [one.name for one in store.documents.page(KIND, "team/")] == inside
    first = store.documents.page(KIND, "team/", limit=2)
    rest = store.documents.page(KIND, "team/", after=first[-1].name)
    assert [one.name for one in [*first, *rest]] == inside
    assert store.documents.page(KIND, "nobody") == []


@pytest.mark.parametrize("name", ["", "a\x00b", "a\ud800", "a\U0010ffff", "n" * (MAX_NAME_BYTES + 1)])
def test_a_name_that_cannot_be_stored_is_refused_and_not_found(store: Store, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        put(store, name)
    with pytest.raises(InvalidRequest, match="kind"):
        store.documents.put(name, "db", NEW, b"", NOW_US)
    assert store.documents.get(KIND, name) is None
    store.documents.delete(KIND, name, 1)  # as good as deleted
    assert store.documents.page(KIND, name) == []


def test_the_longest_name_and_the_largest_body_can_be_stored(store: Store) -> None:
    stored = put(store, "é" * (MAX_NAME_BYTES // 2), body=b"x" * MAX_BODY_BYTES)
    assert store.documents.page(KIND) == [stored]
    with pytest.raises(InvalidRequest, match="at most"):
        put(store, "db", body=b"x" * (MAX_BODY_BYTES + 1))


def test_documents_outlive_their_owner(database: Database) -> None:
    before = database.store()
    before.open()
    stored = put(before, "db")
    reader = database.reader()
    assert reader.documents.get(KIND, "db") == stored  # and a database in memory lives as long as somebody
    before.close()
    after = database.store()
    after.open()
    assert after.documents.get(KIND, "db") == stored
    assert reader.documents.page(KIND) == [stored]


def test_who_has_been_replaced_changes_nothing(database: Database) -> None:
    store = database.store()
    store.open()
    stored = put(store, "db")
    database.replace_owner()
    with pytest.raises(NotOwner):
        put(store, "db", stored.version, b"2")
    with pytest.raises(NotOwner):
        store.documents.delete(KIND, "db", stored.version)
    assert database.reader().documents.get(KIND, "db") == stored
