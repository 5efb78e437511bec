"""Rows that many runs share, which go when nothing names them: templates with their code, names of agents."""

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, Batches, ended, new_run, template

from taskyard_contract.blobs.names import sha256_name
from taskyard_contract.errors import NotOwner
from taskyard_controlplane.storage.interface import BlobRefKind, Store
from taskyard_controlplane.storage.interface.unused import Named

LATER_US = NOW_US + 10**9
CODE = sha256_name(b"c" * 32)


def numbered(number: int) -> tuple[int, bytes, bytes, str]:
    return template(number, f"task-{number}")


def agents(*numbers: int) -> list[tuple[int, str, str, int]]:
    return [(number, f"id-{number}", "name", NOW_US + number) for number in numbers]


def test_a_walk_over_runs_tells_what_they_name(store: Store, batch: Batches) -> None:
    runs = [new_run(seq, template_id=2 + seq % 2) for seq in (1, 2, 3)]
    store.commit(batch(templates=[numbered(2), numbered(3)], new_runs=runs, ended=[ended(3, agent_number=7)]))
    assert store.unused.named_by_runs(0, 2) == Named({2, 3}, set(), 2)
    assert store.unused.named_by_runs(2, 2) == Named({3}, {7}, None)


def test_a_walk_over_cache_entries_tells_the_templates_of_runs_that_are_gone(
    store: Store, batch: Batches
) -> None:
    runs = [new_run(seq, template_id=seq, cache_key=f"key-{seq}") for seq in (1, 2)]
    cache = [("key-1", 1, None), ("key-2", 2, None)]
    store.commit(
        batch(templates=[numbered(1), numbered(2)], new_runs=runs, ended=[ended(1), ended(2)], cache=cache)
    )
    assert store.unused.named_by_entries("", 1) == Named(set(), set(), "key-1"), "the run names it"
    assert store.removals.remove_runs([1], LATER_US).runs == 1
    assert store.unused.named_by_runs(0, 9) == Named({2}, set(), None)
    assert store.unused.named_by_entries("", 1) == Named({1}, set(), "key-1")
    assert store.unused.named_by_entries("key-1", 9) == Named(set(), set(), None)


def test_templates_go_and_the_newest_one_stays(store: Store, database: Database, batch: Batches) -> None:
    store.commit(batch(templates=[numbered(number) for number in (1, 2, 3, 4)]))
    assert store.unused.templates(0, 2) == [1, 2]
    assert store.unused.templates(2, 2) == [3]
    assert store.unused.remove_templates([1, 3, 4]) == 2
    assert store.unused.remove_templates([1, 3, 4]) == 0, "repeated, because no answer came"
    assert [row.template_id for row in store.templates([1, 2, 3, 4])] == [2, 4]
    database.reader().cache.get("key")  # or a database in memory would go with its store
    store.close()
    assert database.store().open().next_template_id == 5


def test_what_went_can_be_recorded_again_under_another_number(store: Store, batch: Batches) -> None:
    store.commit(batch(templates=[numbered(1), numbered(2)]))
    [before] = store.templates([1])
    store.unused.remove_templates([1])
    store.commit(batch(templates=[before._replace(template_id=3)]))
    assert [row.template_id for row in store.templates([], [before.digest])] == [3]


def test_the_code_of_a_template_goes_with_it_unless_another_one_has_it(
    store: Store, database: Database, batch: Batches
) -> None:
    refs = [(int(BlobRefKind.TEMPLATE), number, CODE, None) for number in (1, 2)]
    code = [(CODE, 0, 0, NOW_US)]
    written = batch(templates=[numbered(n) for n in (1, 2, 3)], blobs_named=code, blob_refs=refs)
    written.blobs.append((b"c" * 32, b"code"))
    store.commit(written)
    store.unused.remove_templates([1])
    assert store.blobs.doom(store.blobs.released(9), 99) == []
    store.unused.remove_templates([2])
    assert store.blobs.doom(store.blobs.released(9), 99) == [CODE]
    assert database.count("code_blob_part") == 1
    store.blobs.remove_blobs([CODE])
    assert database.count("code_blob") == 0 == database.count("code_blob_part")


def test_code_that_is_needed_again_stays_in_the_database(
    store: Store, database: Database, batch: Batches
) -> None:
    code = {"blobs_named": [(CODE, 0, 0, NOW_US)]}
    written = batch(templates=[numbered(1), numbered(2)], blob_refs=[(4, 1, CODE, None)], **code)
    written.blobs.append((b"c" * 32, b"code"))
    store.commit(written)
    store.unused.remove_templates([1])
    assert store.blobs.doom([CODE], 99) == [CODE]
    store.commit(batch(templates=[numbered(3)], blob_refs=[(4, 3, CODE, None)], **code))
    store.blobs.remove_blobs([CODE])
    assert database.count("code_blob") == 1


def test_names_of_agents_go_and_the_newest_one_stays(
    store: Store, database: Database, batch: Batches
) -> None:
    store.commit(batch(agents=agents(1, 2, 3, 4)))
    assert store.unused.agents(0, 2) == [(1, NOW_US + 1), (2, NOW_US + 2)]
    assert store.unused.agents(2, 9) == [(3, NOW_US + 3)]
    assert store.unused.remove_agents([1, 2, 4]) == 2
    assert database.count("agent") == 2
    database.reader().cache.get("key")
    store.close()
    assert database.store().open().next_agent == 5


@pytest.mark.parametrize("remove", ["remove_templates", "remove_agents"])
def test_only_the_owner_removes_them(remove: str, store: Store, database: Database, batch: Batches) -> None:
    store.commit(batch(templates=[numbered(1), numbered(2)], agents=agents(1, 2)))
    database.replace_owner()
    with pytest.raises(NotOwner):
        getattr(store.unused, remove)([1])
    assert (database.count("template"), database.count("agent")) == (2, 2)
