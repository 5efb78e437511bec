"""What `Store.commit` writes, on every database."""

import pytest
from support.storage_rows import NOW_US, Batches, ended, event, new_run, run_id, stored, template

from taskyard_contract.states import RunKind, RunState, StateReason
from taskyard_controlplane.storage.interface import LogRow, RowsRefused, Store, StoredRun


def test_a_run_is_stored_as_it_was_submitted(store: Store, batch: Batches) -> None:
    row = new_run(
        7,
        kind=RunKind.FLOW,
        flow_seq=3,
        caller_id=b"p" * 16,
        name='näme \\ "quoted", {braces}\n\tand NULL',
        args=bytes(range(256)),
        args_blob=b"",
        cache_key="key",
        upstream=b"u" * 34,
        headers=b"h",
    )
    store.commit(batch(new_runs=[row]))
    [found] = stored(store, 7)
    assert found == StoredRun(
        **row._asdict(), reason=0, attempt=1, infra_retries=0, epoch=0, started_us=None, ended_us=None,
        result=None, outcome=None,
    )  # fmt: skip


def test_a_run_without_anything_optional_is_stored(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(1, session_id=None, args=None)]))
    [found] = stored(store, 1)
    assert (found.session_id, found.args, found.name, found.upstream) == (None, None, None, None)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 127, 128, 129, 300])
def test_batches_of_every_size_are_written_whole(store: Store, batch: Batches, count: int) -> None:
    seqs = range(1, count + 1)
    result = store.commit(batch(new_runs=[new_run(seq) for seq in seqs]))
    assert result.duplicates == []
    store.commit(batch(ended=[ended(seq, result=b"%d" % seq) for seq in seqs]))
    found = store.runs_by_id([run_id(seq) for seq in seqs])
    assert {row.seq: (row.state, row.result) for row in found} == {
        seq: (RunState.COMPLETED, b"%d" % seq) for seq in seqs
    }


@pytest.mark.parametrize("count", [1, 100])
def test_a_run_may_be_submitted_and_end_in_one_batch(store: Store, batch: Batches, count: int) -> None:
    seqs = range(1, count + 1)
    store.commit(batch(new_runs=[new_run(seq) for seq in seqs], ended=[ended(seq) for seq in seqs]))
    assert {row.state for row in stored(store, *seqs)} == {RunState.COMPLETED}


def test_an_ending_records_everything_it_says(store: Store, batch: Batches) -> None:
    row = ended(
        1, state=RunState.FAILED, reason=StateReason.TIMED_OUT, attempt=3, infra_retries=2, result=None,
        outcome=b"outcome", started_us=None,
    )  # fmt: skip
    store.commit(batch(new_runs=[new_run(1)]))
    store.commit(batch(ended=[row]))
    [found] = stored(store, 1)
    assert {name: getattr(found, name) for name in row._fields} == row._asdict()


@pytest.mark.parametrize("count", [1, 130])
def test_final_is_final(store: Store, batch: Batches, count: int) -> None:
    seqs = range(1, count + 1)
    store.commit(batch(new_runs=[new_run(seq) for seq in seqs]))
    store.commit(batch(ended=[ended(seq) for seq in seqs]))
    store.commit(batch(ended=[ended(seq, state=RunState.FAILED, result=b"late") for seq in seqs]))
    assert {(row.state, row.result) for row in stored(store, *seqs)} == {(RunState.COMPLETED, b"result")}


REOPENED = (int(RunState.PENDING), 0, 2, b"s" * 16, None, None, None, None, 1)


def test_a_run_that_is_resumed_has_nothing_of_its_end_left(store: Store, batch: Batches) -> None:
    failed = ended(1, state=RunState.FAILED, result=None, outcome=b"outcome")
    store.commit(batch(new_runs=[new_run(1, kind=RunKind.FLOW)], ended=[failed], ended_badly=[(1,)]))
    store.commit(batch(reopened=[REOPENED], bad_ends_removed=[(RunState.FAILED, RunKind.FLOW, 1)]))
    [row] = stored(store, 1)
    assert (row.state, row.attempt, row.session_id) == (RunState.PENDING, 2, b"s" * 16)
    assert (row.started_us, row.ended_us, row.result, row.outcome) == (None, None, None, None)
    store.commit(batch(ended=[ended(1, attempt=2)]))
    assert [(row.state, row.attempt) for row in stored(store, 1)] == [(RunState.COMPLETED, 2)]


def test_a_run_that_is_resumed_may_end_in_the_same_batch(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(1)], ended=[ended(1, state=RunState.CRASHED)], ended_badly=[(1,)]))
    again = ended(1, state=RunState.FAILED, attempt=2)
    removed = [(RunState.CRASHED, RunKind.TASK, 1)]
    store.commit(batch(reopened=[REOPENED], bad_ends_removed=removed, ended=[again], ended_badly=[(1,)]))
    assert [(row.state, row.attempt) for row in stored(store, 1)] == [(RunState.FAILED, 2)]


def test_only_a_run_that_has_ended_is_resumed(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(1)]))
    store.commit(batch(reopened=[REOPENED]))
    assert [row.attempt for row in stored(store, 1)] == [1]


@pytest.mark.parametrize("rare", [{}, {"cache_key": "key"}])
@pytest.mark.parametrize("count", [1, 130])
def test_a_run_id_is_stored_once(store: Store, batch: Batches, count: int, rare: dict[str, str]) -> None:
    store.commit(batch(new_runs=[new_run(1, args=b"first")]))
    again = [
        new_run(2, run_id=run_id(1), args=b"second", **rare),
        *(new_run(seq) for seq in range(3, 2 + count)),
    ]
    result = store.commit(batch(new_runs=again))
    assert result.duplicates == [run_id(1)]
    assert stored(store, 1)[0].args == b"first"
    assert None not in stored(store, *range(3, 2 + count))


def test_a_run_id_twice_in_one_batch_is_stored_once(store: Store, batch: Batches) -> None:
    result = store.commit(batch(new_runs=[new_run(1), new_run(2, run_id=run_id(1))]))
    assert result.duplicates == [run_id(1)]
    assert stored(store, 1)[0].seq == 1


def test_events_keep_their_order(store: Store, batch: Batches) -> None:
    store.commit(batch(events=[event(1, attempt=1), event(2), event(1, attempt=2, message='"\\')]))
    store.commit(batch(events=[event(1, attempt=3, due_us=NOW_US, state_name="Later")]))
    assert store.events_of([1, 2]) == [
        event(1, attempt=1),
        event(2),
        event(1, attempt=2, message='"\\'),
        event(1, attempt=3, due_us=NOW_US, state_name="Later"),
    ]


def test_a_batch_without_rows_is_a_valid_commit(store: Store, batch: Batches) -> None:
    assert store.commit(batch()) == ([], [], [])


def test_lookups_see_what_the_batch_wrote(store: Store, batch: Batches) -> None:
    result = store.commit(
        batch(
            templates=[template()],
            new_runs=[new_run(1)],
            ended=[ended(1)],
            cache=[("key", 1, None)],
            lookup_runs=[run_id(1), run_id(99)],
            lookup_keys=["key", "other"],
        )
    )
    assert [(row.run_id, row.state) for row in result.runs] == [(run_id(1), RunState.COMPLETED)]
    assert [entry[:6] for entry in result.cached] == [("key", 1, run_id(1), 1, b"result", None)]


def test_the_newest_result_under_a_cache_key_counts(store: Store, batch: Batches) -> None:
    runs = {"new_runs": [new_run(seq) for seq in (1, 2, 3)], "ended": [ended(seq) for seq in (1, 2, 3)]}
    store.commit(batch(**runs, cache=[("key", 1, None), ("key", 2, NOW_US + 5)]))
    assert store.commit(batch(lookup_keys=["key"])).cached[0].run_seq == 2
    store.commit(batch(cache=[("key", 3, None)]))
    assert store.commit(batch(lookup_keys=["key"])).cached[0].run_seq == 3


def test_a_cache_key_that_becomes_known_is_kept_with_an_open_run(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(seq) for seq in (1, 2, 3)], ended=[ended(3)]))
    store.commit(batch(keys=[("key", 7, 1), ("another", 8, 2), ("late", 9, 3)]))
    known = {
        row.run_id: (row.cache_key, row.epoch)
        for row in store.heads_by_id([run_id(seq) for seq in (1, 2, 3)])
    }
    assert known == {run_id(1): ("key", 7), run_id(2): ("another", 8), run_id(3): (None, ended(3).epoch)}


def test_an_expired_cache_entry_is_not_found(store: Store, batch: Batches) -> None:
    entries = [("now", 1, NOW_US), ("later", 1, NOW_US + 1)]
    store.commit(batch(new_runs=[new_run(1)], ended=[ended(1)], cache=entries))
    found = store.commit(batch(lookup_keys=["now", "later"])).cached
    assert [entry.cache_key for entry in found] == ["later"]


def test_a_cache_entry_of_a_run_that_did_not_complete_is_not_found(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(1)], cache=[("key", 1, None)]))
    assert store.commit(batch(lookup_keys=["key"])).cached == []


def test_lookups_may_be_many(store: Store, batch: Batches) -> None:
    seqs = range(1, 1201)
    store.commit(
        batch(
            new_runs=[new_run(seq) for seq in seqs],
            ended=[ended(seq) for seq in seqs],
            cache=[(f"key{seq}", seq, None) for seq in seqs],
        )
    )
    result = store.commit(
        batch(lookup_runs=[run_id(seq) for seq in seqs], lookup_keys=[f"key{seq}" for seq in seqs])
    )
    assert (len(result.runs), len(result.cached)) == (1200, 1200)


def test_templates_are_kept_once(store: Store, batch: Batches) -> None:
    store.commit(batch(templates=[template(1, "add"), template(2, "sub")]))
    store.commit(batch(templates=[template(2, "sub"), template(3, "mul")]))
    assert [tuple(row) for row in store.templates([3, 1, 4], [template(2, "sub")[1], b"other"])] == [
        template(1, "add"), template(2, "sub"), template(3, "mul"),
    ]  # fmt: skip
    assert store.templates([]) == []
    assert list(store.template_digests()) == sorted(template(1, name)[1] for name in ("add", "sub", "mul"))
    assert len(store.templates(range(2000), [bytes(32)] * 2000)) == 3


def test_old_dispatches_are_forgotten_on_request(store: Store, batch: Batches) -> None:
    rows = [(number, f"agent {number}", b"s" * 16, NOW_US, b"e" * 16) for number in (1, 2, 3)]
    store.commit(batch(dispatches=rows))
    store.commit(batch(dispatched_below=3))
    assert [tuple(row) for row in store.dispatches()] == [rows[2]]


def test_text_with_a_nul_does_not_stop_a_batch(store: Store, batch: Batches) -> None:
    logs = [LogRow(1, None, NOW_US, 20, "a\0b", "c\0d", 1)]
    runs = [new_run(seq, name="x\0y", cache_key="k\0") for seq in range(1, 101)]
    store.commit(batch(new_runs=runs, ended=[ended(1)], events=[event(1, message="\0")], logs=logs))
    assert None not in stored(store, *range(1, 101))
    assert store.commit(batch(cache=[("k\0", 1, None)], lookup_keys=["k\0"])).cached == []


def test_the_largest_numbers_fit(store: Store, batch: Batches) -> None:
    largest = (1 << 63) - 1
    store.commit(batch(new_runs=[new_run(largest, run_id=run_id(1), ordinal=1, submitted_us=largest)]))
    store.commit(batch(ended=[ended(largest, epoch=largest, ended_us=largest)]))
    [found] = stored(store, 1)
    assert (found.seq, found.epoch, found.ended_us) == (largest, largest, largest)


def test_every_state_can_be_stored(store: Store, batch: Batches) -> None:
    states = list(RunState)
    store.commit(batch(new_runs=[new_run(seq, state=state) for seq, state in enumerate(states, 1)]))
    assert [row.state for row in stored(store, *range(1, len(states) + 1))] == states


def test_a_failed_batch_leaves_nothing_behind(store: Store, batch: Batches) -> None:
    """All or nothing, also when the mistake is the caller's: 8 is not a state."""
    with pytest.raises(RowsRefused):
        store.commit(batch(new_runs=[new_run(1)], events=[event(1)], ended=[ended(1, state=8)]))
    assert stored(store, 1) == [None]
    assert store.events_of([1]) == []
    store.commit(batch(new_runs=[new_run(1)]))
    assert stored(store, 1)[0].seq == 1


def test_a_newer_result_brings_its_own_lifetime(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(1), new_run(2)], ended=[ended(1), ended(2)], cache=[("k", 1, 10)]))
    store.commit(batch(cache=[("k", 2, 30)]))
    for now_us, found in ((20, [2]), (40, [])):
        result = store.commit(batch(lookup_keys=["k"], now_us=now_us))
        assert [cached.run_seq for cached in result.cached] == found
