"""What a store gives back to an owner that starts again, and the backlog."""

from functools import partial
from typing import Protocol

from support.storage_rows import NOW_US, Batches, ended, event, new_run, run_id, stored, template

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.memory import ALWAYS_KEPT
from taskyard_controlplane.storage.interface import Ownership, Reader, Store
from taskyard_controlplane.storage.ownership import KEPT_COMMITS


class Database(Protocol):
    seconds: float

    def count(self, table: str) -> int: ...

    def store(self) -> Store: ...

    def reader(self) -> Reader: ...


def _reopened(database: Database, store: Store) -> tuple[Store, Ownership]:
    """Open the database again the moment it is given up; a database in memory needs someone to hold it."""
    holder = database.reader()
    holder.blob_size(b"")
    store.close()
    again = database.store()
    return again, again.open()


def test_an_empty_database_starts_from_one(database: Database) -> None:
    assert database.store().open() == Ownership(
        generation=1, next_seq=1, next_template_id=1, low_seq=1, next_dispatch=1
    )


def test_counting_goes_on_where_it_stopped(database: Database, store: Store, batch: Batches) -> None:
    store.commit(
        batch(
            templates=[template(4)],
            new_runs=[new_run(17)],
            dispatches=[(9, "agent", b"s", NOW_US, b"")],
            low_seq=12,
        )
    )
    _, ownership = _reopened(database, store)
    assert ownership == Ownership(generation=2, next_seq=18, next_template_id=5, low_seq=12, next_dispatch=10)


def test_the_low_mark_survives_trimming(database: Database, store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(50)], low_seq=40))
    for _ in range(200):
        store.commit(batch(events=[event(50)]))
    database.seconds += 60
    store.maintain()
    assert database.count("commit_log") == KEPT_COMMITS
    again, _ = _reopened(database, store)
    third, ownership = _reopened(database, again)
    assert (ownership.generation, ownership.low_seq) == (3, 40)
    assert stored(third, 50)[0].seq == 50


def test_open_runs_are_those_that_neither_ended_nor_wait_in_the_backlog(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(seq) for seq in range(1, 1301)]))
    store.commit(
        batch(
            ended=[ended(seq) for seq in range(1, 1301, 4)],
            backlog_added=[("default", 0, seq) for seq in range(2, 1301, 4)],
        )
    )
    expected = [seq for seq in range(100, 1301) if seq % 4 not in (1, 2)]
    assert [row.seq for row in store.open_runs(100)] == expected


def test_the_store_can_be_used_while_open_runs_are_read(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(seq) for seq in range(1, 700)]))
    for row in store.open_runs(1):
        if row.seq in (1, 600):
            store.commit(batch(ended=[ended(row.seq)]))
    assert [row.state for row in stored(store, 1, 600)] == [RunState.COMPLETED] * 2


def test_the_backlog_is_read_page_by_page_in_order(store: Store, batch: Batches) -> None:
    high = [("a", 0, seq) for seq in (5, 1, 9, 7)]
    store.commit(batch(new_runs=[new_run(seq) for seq in range(1, 11)]))
    store.commit(
        batch(
            backlog_added=[*high, ("a", 1, 2), ("b", 0, 3), ("a", -1, 8)],
            ended=[ended(7)],
        )
    )
    assert store.backlog_counts() == [("a", -1, 1), ("a", 0, 4), ("a", 1, 1), ("b", 0, 1)]
    pages = [store.backlog_page("a", 0, after, limit) for after, limit in ((0, 2), (5, 1), (5, 10))]
    assert [[row.seq for row in page.rows] for page in pages] == [[1, 5], [], [9]], "7 has ended"
    assert [page[1:] for page in pages] == [(2, 5), (1, 7), (2, 9)]
    assert store.backlog_page("nothing here", 0, 3, 10) == ([], 0, 3)


def test_runs_leave_the_backlog(store: Store, batch: Batches) -> None:
    waiting = [("default", 3, seq) for seq in range(1, 301)]
    store.commit(batch(new_runs=[new_run(seq) for seq in range(1, 301)], backlog_added=waiting))
    store.commit(batch(backlog_removed=[waiting[298]]))
    assert store.backlog_counts() == [("default", 3, 1)]
    assert [row.seq for row in store.open_runs(1)] == list(range(1, 300))


def test_open_runs_of_a_session_and_of_a_flow_are_found_in_the_backlog(store: Store, batch: Batches) -> None:
    mine = {"session_id": b"m" * 16, "flow_seq": 77}
    store.commit(
        batch(
            new_runs=[new_run(1, **mine), new_run(2, **mine), new_run(3, **mine), new_run(4)],
            backlog_added=[("default", 0, seq) for seq in (2, 3, 4)],
            ended=[ended(3)],
        )
    )
    assert [row.seq for row in store.backlog_of_session(b"m" * 16, -1, 9).rows] == [2]
    assert [row.seq for row in store.backlog_of_flow(77, -1, 9).rows] == [2]
    assert [store.backlog_of_session(b"m" * 16, -1, 9)[1:], store.backlog_of_flow(77, -1, 9)[1:]] == [
        (3, 4),
        (1, 2),
    ]
    assert store.backlog_of_session(b"m" * 16, 4, 9) == store.backlog_of_flow(78, 4, 9) == ([], 0, 4)


def test_they_are_found_page_by_page(store: Store, batch: Batches) -> None:
    seqs = range(1, 31)
    whose = {seq: {"session_id": b"m" * 16, "flow_seq": 77} if seq % 3 == 0 else {} for seq in seqs}
    store.commit(
        batch(
            new_runs=[new_run(seq, **whose[seq]) for seq in seqs],
            backlog_added=[("default", 0, seq) for seq in seqs],
        )
    )
    of_session, of_flow = partial(store.backlog_of_session, b"m" * 16), partial(store.backlog_of_flow, 77)
    for next_page, size, pages in ((of_session, 7, 5), (of_flow, 3, 4)):
        found: list[int] = []
        last, looked_at = -1, size
        while looked_at == size:
            rows, looked_at, last = next_page(last, size)
            found += [row.seq for row in rows]
            pages -= 1
        assert (found, pages) == ([*range(3, 31, 3)], 0)


def test_runs_that_wait_for_others_leave_the_backlog_one_by_one(store: Store, batch: Batches) -> None:
    edges = [run_id(seq) + b"\x01" for seq in range(301)]
    whose = {seq: b"m" * 16 if seq % 2 else None for seq in range(1, 301)}
    runs = [
        new_run(seq, upstream=edges[seq], template_id=seq % 3, session_id=whose[seq]) for seq in range(1, 301)
    ]
    store.commit(batch(new_runs=runs, backlog_added=[("", 0, seq) for seq in range(1, 301)]))
    assert store.parked_page("", 4, 2) == [(5, 2, edges[5], b"m" * 16), (6, 0, edges[6], None)]
    assert store.parked_page("default", -1, 2) == []
    store.commit(batch(backlog_taken=[(seq,) for seq in range(299, 0, -1)]))
    assert [row[0] for row in store.parked_page("", -1, 1_000)] == [300]
    assert [row.seq for row in store.open_runs(1)] == list(range(1, 300))
    heads = {head.seq: head.upstream for head in store.heads_by_seq([7, 300, 999])}
    assert heads == {7: edges[7], 300: edges[300]}


def test_the_events_of_many_runs_are_read_at_once(store: Store, batch: Batches) -> None:
    store.commit(batch(events=[event(seq) for seq in range(1, 1101)]))
    assert [row.run_seq for row in store.events_of(range(2, 1101))] == list(range(2, 1101))
    assert store.events_of([]) == []


def test_runs_leave_the_backlog_of_their_own_queue_and_priority_only(store: Store, batch: Batches) -> None:
    waiting = [("a", 0, 1), ("b", 0, 2), ("a", 1, 3), ("a", 0, 4), ("a", 0, 5)]
    store.commit(batch(new_runs=[new_run(seq) for *_, seq in waiting], backlog_added=waiting))
    store.commit(batch(backlog_removed=[("a", 0, 4)]))
    assert store.backlog_counts() == [("a", 0, 1), ("a", 1, 1), ("b", 0, 1)]


def test_what_is_large_is_told_by_its_size_and_read_in_bulk(store: Store, batch: Batches) -> None:
    small, large = b"s" * ALWAYS_KEPT, b"l" * (ALWAYS_KEPT + 1)
    runs = [new_run(1, args=small), new_run(2, args=large), new_run(3, args=None), new_run(4, args=b"")]
    store.commit(batch(templates=[template(1)], new_runs=runs))
    heads = list(store.open_runs(1))
    assert [(head.seq, head.args) for head in heads] == [(1, small), (2, len(large)), (3, None), (4, b"")]
    store.commit(
        batch(
            ended=[ended(1, result=small), ended(2, result=large), ended(3, result=None, outcome=large)],
            lookup_runs=[run_id(2)],
        )
    )
    heads = store.heads_by_id([run_id(number) for number in (1, 2, 3, 9)])
    assert {head.seq: (head.result, head.outcome) for head in heads} == {
        1: (small, None),
        2: (len(large), None),
        3: (None, len(large)),
    }
    ends = store.ends_by_id([run_id(number) for number in (1, 2, 3, 4, 9)])
    assert {end.run_id: end[1:] for end in ends} == {
        run_id(1): (RunState.COMPLETED, small, None),
        run_id(2): (RunState.COMPLETED, len(large), None),
        run_id(3): (RunState.COMPLETED, None, len(large)),
        run_id(4): (RunState.PENDING, None, None),
    }
    assert store.states_by_id([end.run_id for end in ends]) == {end.run_id: end.state for end in ends}
    found = store.payloads(range(1, 1_200), [run_id(number) for number in (1, 2, 3, 4, 9)])
    assert found.args == {1: small, 2: large, 3: b"", 4: b""}
    assert found.outcomes == {
        run_id(1): (small, None),
        run_id(2): (large, None),
        run_id(3): (None, large),
        run_id(4): (None, None),
    }


def test_events_of_open_runs_are_read_by_a_range(store: Store, batch: Batches) -> None:
    runs = [new_run(number) for number in range(1, 6)]
    events = [event(number, epoch=epoch) for epoch in (1, 2) for number in (4, 1, 2, 3)]
    store.commit(batch(templates=[template(1)], new_runs=runs, events=events, ended=[ended(3)]))
    assert [(row.run_seq, row.epoch) for row in store.open_events(2, 5)] == [(4, 1), (2, 1), (4, 2), (2, 2)]
    assert store.open_events(5, 9) == []


def test_the_newest_mark_of_each_session_is_kept_until_it_is_old(store: Store, batch: Batches) -> None:
    store.commit(batch(log_marks=[(b"a" * 16, 1, 10), (b"b" * 16, 1, 20), (b"a" * 16, 2, 30)]))
    store.commit(batch(log_marks=[(b"c" * 16, 7, 25)]))
    assert [(mark.session_id[:1], mark.number) for mark in store.log_marks()] == [
        (b"a", 2), (b"c", 7), (b"b", 1)
    ]  # fmt: skip
    store.commit(batch(log_marks_removed=[(25,)]))
    assert [mark.session_id[:1] for mark in store.log_marks()] == [b"a"]
