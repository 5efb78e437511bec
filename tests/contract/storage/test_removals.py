"""What retention removes: runs with all that is about them, and blobs that nobody refers to."""

from random import Random
from typing import Any

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, TEMPLATE_ID, Batches, ended, event, new_run, run_id, stored, template

from taskyard_contract.errors import NotOwner
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.storage.interface import BlobRefKind, Store, WriteBatch
from taskyard_controlplane.storage.interface.removals import KeptBytes, RefKey, RemovedRuns

ARGUMENTS, RESULT, ENTRY, TEMPLATE = BlobRefKind
LATER_US = NOW_US + 10**9


def blob(name: str, size: int = 7) -> tuple[str, int, int, int]:
    return name, size, -5, NOW_US


def ref(kind: int, seq: int, name: str, key: str | None = None) -> tuple[int, int, str, str | None]:
    return int(kind), seq, name, key


def fill(store: Store, batch: Batches, count: int, **more: Any) -> None:
    """Record runs that have completed, and whatever else."""
    seqs = range(1, count + 1)
    runs = {"new_runs": [new_run(seq) for seq in seqs], "ended": [ended(seq) for seq in seqs]}
    store.commit(batch(templates=[template()], **(runs | more)))


def looked_up(store: Store, batch: Batches, key: str) -> list[Any]:
    looking: WriteBatch = batch()
    looking.lookup_keys.append(key)
    return store.commit(looking).cached


def test_a_run_goes_with_all_that_is_about_it(store: Store, database: Database, batch: Batches) -> None:
    bad = ended(2, state=RunState.FAILED, result=None, outcome=b"")
    logs = [(2, None, NOW_US, 20, "logger", "text", NOW_US + at) for at in range(2)]
    fill(store, batch, 3, ended=[ended(1), bad], ended_badly=[(2,)], events=[event(2)], logs=logs)
    assert store.removals.remove_runs([1, 2, 3], LATER_US) == RemovedRuns(2, 1, 2, run_id(2)), "not open ones"
    assert [each is None for each in stored(store, 1, 2, 3)] == [True, True, False]
    for table in ("run_event", "run_log", "ended_badly"):
        assert database.count(table) == 0
    assert store.removals.remove_runs([1, 2, 3], LATER_US) == RemovedRuns()


def test_no_number_is_given_twice(store: Store, database: Database, batch: Batches) -> None:
    fill(store, batch, 3)
    assert store.removals.remove_runs([2, 3], LATER_US).runs == 2
    assert store.removals.remove_runs([1], LATER_US).runs == 1
    database.reader().cache.get("key")  # or a database in memory would go with its store
    store.close()
    assert database.store().open().next_seq == 4


def test_ids_of_what_is_gone_are_known_for_a_while(store: Store, batch: Batches) -> None:
    fill(store, batch, 4)
    assert store.removals.last_gone() == b""
    store.removals.remove_runs([1, 2], LATER_US)
    store.removals.remove_runs([3], LATER_US + 9)
    ids = [run_id(seq) for seq in range(1, 7)]
    assert set(store.removals.seen(ids)) == set(ids[:4]), "also those that are there"
    assert store.removals.last_gone() == run_id(3)
    assert store.removals.forget_gone(None, LATER_US, 10).removed == 0
    assert store.removals.forget_gone(None, LATER_US + 1, 10) == (2, None)
    assert set(store.removals.seen(ids)) == set(ids[2:4])


def test_of_runs_that_were_old_when_they_went_nothing_is_remembered(store: Store, batch: Batches) -> None:
    fill(store, batch, 3)
    a_day_later_us = LATER_US + 25 * 3600 * 1_000_000
    assert store.removals.remove_runs([1], a_day_later_us).last_id == b""
    assert store.removals.seen([run_id(1)]) == []


def test_ids_are_remembered_as_ranges(store: Store, batch: Batches) -> None:
    random = Random(5)
    ids = {seq: (1_000 * (seq % 3) + seq).to_bytes(8) + bytes([seq % 2]) * 8 for seq in range(1, 41)}
    runs = [new_run(seq, run_id=ids[seq]) for seq in ids]
    store.commit(batch(templates=[template()], new_runs=runs, ended=[ended(seq) for seq in ids]))
    left = list(ids)[:-1]
    random.shuffle(left)
    gone: set[bytes] = set()
    while left:
        some = [left.pop() for _ in range(min(4, len(left)))]
        gone |= {ids[seq] for seq in some}
        assert store.removals.remove_runs(some, LATER_US).last_id == max(ids[seq] for seq in some)
        assert set(store.removals.seen(ids.values())) == set(ids.values()), "also those that are there"
    assert store.removals.last_gone() == max(gone)
    others = [(int.from_bytes(run_id[:8]) + 1).to_bytes(8) + run_id[8:] for run_id in ids.values()]
    assert set(store.removals.seen(others)) <= set(ids.values())
    walked, after = 0, None
    while (swept := store.removals.forget_gone(after, LATER_US + 1, 3)).last is not None:
        walked, after = walked + swept.removed, swept.last
    assert walked + swept.removed <= len(gone)
    assert store.removals.seen(gone) == []


def test_a_cache_entry_outlives_the_run_that_filled_it(store: Store, batch: Batches) -> None:
    entries = [("key", 1, None)]
    fill(store, batch, 2, new_runs=[new_run(1, cache_key="key"), new_run(2)], cache=entries)
    before = looked_up(store, batch, "key")
    store.removals.remove_runs([1], LATER_US)
    after = looked_up(store, batch, "key")
    assert before == after
    assert (after[0].run_id, after[0].result, after[0].template_id) == (run_id(1), b"result", TEMPLATE_ID)


def test_what_an_entry_kept_is_not_mixed_with_the_result_that_replaced_it(
    store: Store, batch: Batches
) -> None:
    first = {"new_runs": [new_run(1, cache_key="key"), new_run(2)], "cache": [("key", 1, None)]}
    fill(store, batch, 2, **first)
    store.removals.remove_runs([1], LATER_US)
    newer = ended(3, result=None, outcome=b"outcome")
    store.commit(
        batch(new_runs=[new_run(3, cache_key="key"), new_run(4)], ended=[newer], cache=[("key", 3, None)])
    )
    for _ in range(2):
        [found] = looked_up(store, batch, "key")
        assert (found.run_id, found.result, found.outcome) == (run_id(3), None, b"outcome")
        store.removals.remove_runs([3], LATER_US)


def test_expired_entries_go(store: Store, batch: Batches) -> None:
    entries = [("a", 1, NOW_US), ("b", 2, None), ("c", 3, NOW_US + 1)]
    refs = [ref(ENTRY, seq, f"blob {seq}", key) for key, seq, _ in entries]
    fill(
        store, batch, 3, cache=entries, blobs_named=[blob(f"blob {seq}") for seq in (1, 2, 3)], blob_refs=refs
    )
    assert store.removals.remove_expired("", NOW_US, 2) == (1, "b")
    assert store.removals.remove_expired("b", NOW_US, 2) == (0, None)
    assert store.blobs.released(10) == ["blob 1"]
    assert store.cache.remove("b") == 1
    assert store.blobs.released(10) == ["blob 1", "blob 2"]


def test_logs_go_before_their_runs(store: Store, batch: Batches) -> None:
    logs = [(seq, None, NOW_US + at, 20, "l", "m", at + 1) for at, seq in enumerate((1, 2, 9, 1, 1))]
    fill(store, batch, 2, ended=[ended(1)], logs=logs)
    swept = store.removals.remove_logs(0, NOW_US + 4, 3)
    assert (swept.removed, swept.last) == (2, 3), "those of open runs stay, those of no run do not"
    assert store.removals.remove_logs(3, NOW_US + 4, 3) == (1, None)
    assert store.removals.remove_logs(4, NOW_US + 4, 1) == (0, None), "all from here on are younger"


def test_runs_are_read_with_what_decides_about_them(store: Store, batch: Batches) -> None:
    flow = new_run(1, kind=RunKind.FLOW, session_id=None)
    store.commit(batch(templates=[template()], new_runs=[flow, new_run(2, flow_seq=1)], ended=[ended(2)]))
    first, second = store.removals.runs(0, 10)
    assert (first.seq, first.kind, first.ended_us, first.flow_state) == (1, RunKind.FLOW, None, None)
    assert (second.flow_seq, second.flow_state, second.name) == (1, RunState.PENDING, "add")
    assert second.ended_us == ended(2).ended_us
    assert [run.seq for run in store.removals.runs(1, 10)] == [2]


def test_what_the_backlog_waits_for_is_found(store: Store, batch: Batches) -> None:
    edges = run_id(9) + b"\x01"
    runs = [new_run(seq, upstream=edges if seq == 2 else None) for seq in (1, 2, 3)]
    store.commit(
        batch(templates=[template()], new_runs=runs, backlog_added=[("", 0, seq) for seq in (1, 2, 3)])
    )
    assert store.removals.waits_of(0, 2) == ([edges], 2)
    assert store.removals.waits_of(2, 2) == ([], None)


# Blobs.


def test_a_blob_is_doomed_when_nothing_refers_to_it(store: Store, batch: Batches) -> None:
    refs = [ref(ARGUMENTS, 1, "shared"), ref(ARGUMENTS, 2, "shared"), ref(RESULT, 1, "result")]
    blobs = [blob("shared"), blob("result"), blob("shared")]
    fill(store, batch, 3, blobs_named=blobs, blob_refs=refs)
    assert store.blobs.released(10) == []
    store.removals.remove_runs([1], LATER_US)
    assert store.blobs.released(10) == ["result", "shared"]
    assert store.blobs.doom(["result", "shared"], 99) == ["result"], "another run has the other"
    assert store.blobs.released(10) == []
    assert store.blobs.doomed() == ["result"]
    store.blobs.remove_blobs(["result", "shared"])
    assert store.blobs.orphans(["result", "shared"]) == ["result"]
    store.removals.remove_runs([2], LATER_US)
    assert store.blobs.doom(["shared"], 99) == ["shared"]


def test_a_reference_that_came_meanwhile_keeps_a_released_blob(store: Store, batch: Batches) -> None:
    fill(store, batch, 2, blobs_named=[blob("b")], blob_refs=[ref(RESULT, 1, "b")])
    store.removals.remove_runs([1], LATER_US)
    store.commit(batch(blobs_named=[blob("b")], blob_refs=[ref(ARGUMENTS, 2, "b")]))
    assert store.blobs.doom(["b"], 99) == []
    assert store.blobs.released(10) == [] == store.blobs.doomed()


def test_the_value_of_a_cache_entry_outlives_its_run(store: Store, batch: Batches) -> None:
    refs = [ref(RESULT, 1, "b"), ref(ENTRY, 1, "b", "key")]
    fill(store, batch, 2, new_runs=[new_run(1, cache_key="key"), new_run(2)], cache=[("key", 1, None)],
         blobs_named=[blob("b")], blob_refs=refs)  # fmt: skip
    store.removals.remove_runs([1], LATER_US)
    assert store.blobs.doom(store.blobs.released(10), 99) == []
    assert store.blobs.kept_bytes("", 10) == ([KeptBytes(ENTRY, 1, 7)], None)
    store.cache.remove("key")
    assert store.blobs.doom(store.blobs.released(10), 99) == ["b"]


def test_references_whose_holder_is_gone_are_swept(store: Store, batch: Batches) -> None:
    """Of runs that the database had before, and of cache entries that newer ones have replaced."""
    refs = [
        ref(ARGUMENTS, 1, "a"),
        ref(ARGUMENTS, 8, "b"),
        ref(ENTRY, 1, "c", "key"),
        ref(ENTRY, 2, "d", "key"),
    ]
    fill(
        store, batch, 2, cache=[("key", 2, None)], blobs_named=[blob(name) for name in "abcd"], blob_refs=refs
    )
    swept = store.blobs.sweep_refs(None, 3)
    assert swept == (2, RefKey(ENTRY, 1, "c"))
    assert store.blobs.sweep_refs(swept.last, 3) == (0, None)
    assert store.blobs.released(10) == ["b", "c"]


def test_blobs_without_references_are_swept(store: Store, batch: Batches) -> None:
    fill(store, batch, 1, blobs_named=[blob(name) for name in "abc"], blob_refs=[ref(ARGUMENTS, 1, "a")])
    assert store.blobs.sweep_blobs(None, NOW_US, 2) == (0, "b"), "one that was just named may be about to be"
    assert store.blobs.sweep_blobs(None, NOW_US + 1, 2) == (1, "b")
    assert store.blobs.sweep_blobs("b", NOW_US + 1, 2) == (1, None)
    assert store.blobs.released(10) == ["b", "c"]
    assert store.blobs.kept_bytes("", 10) == ([KeptBytes(0, 2, 14), KeptBytes(ARGUMENTS, 1, 7)], None)
    part, last = store.blobs.kept_bytes("", 2)
    assert (sum(each.blobs for each in part), last is None) == (2, False)
    part, last = store.blobs.kept_bytes(last or "", 2)
    assert (sum(each.blobs for each in part), last) == (1, None)


@pytest.mark.parametrize("remove", ["runs", "doom"])
def test_only_the_owner_removes(remove: str, store: Store, database: Database, batch: Batches) -> None:
    fill(store, batch, 2)
    database.replace_owner()
    with pytest.raises(NotOwner):
        store.removals.remove_runs([1], LATER_US) if remove == "runs" else store.blobs.doom(["a"], 9)
