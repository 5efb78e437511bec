"""Listings and blobs, on every database."""

import os
from typing import Any, Protocol

import pytest
from support.storage_rows import NOW_US, Batches, ended, event, new_run, run_id, template

from taskyard_contract.states import RunKind, RunState
from taskyard_contract.wire_text import LOG_LIMIT
from taskyard_controlplane.storage.interface import LogRow, Reader, RunFilter, Store

MIB = 1 << 20


class Database(Protocol):
    def reader(self) -> Reader: ...


@pytest.fixture
def reader(database: Database, store: Store, batch: Batches) -> Reader:
    """Sees flow run 1 with runs 2 to 5 in it, and run 6 outside."""
    inside = [new_run(seq, flow_seq=1) for seq in range(2, 5)]
    store.commit(
        batch(
            templates=[template(1, "add"), template(2, "Nightly")],
            new_runs=[
                new_run(1, kind=RunKind.FLOW, template_id=2, name="curious-otter"),
                *inside,
                new_run(5, flow_seq=1, name="100%_special"),
                new_run(6),
            ],
            ended=[ended(2), ended(3, state=RunState.FAILED)],
            ended_badly=[(3,)],
            events=[event(3, attempt=1), event(3, attempt=2), event(4)],
        )
    )
    return database.reader()


def _seqs(reader: Reader, before: int | None = None, limit: int = 100, **wanted: object) -> list[int]:
    found = reader.runs(RunFilter(**wanted), before, limit)  # type: ignore[arg-type]
    return [listed.run.seq for listed in found.runs]


def test_one_run_comes_with_its_template_and_its_flow_run(reader: Reader) -> None:
    listed = reader.run(run_id(2))
    assert listed is not None
    assert (listed.run.seq, listed.run.state) == (2, RunState.COMPLETED)
    assert (listed.definition, listed.flow_run_id) == (template(1)[2], run_id(1))


def test_a_run_outside_of_flows_has_no_flow_run(reader: Reader) -> None:
    listed = reader.run(run_id(6))
    assert listed is not None
    assert listed.flow_run_id is None


def test_an_ended_run_comes_with_the_agent_that_had_it(
    database: Database, store: Store, batch: Batches
) -> None:
    store.commit(
        batch(
            templates=[template(1)],
            agents=[(1, "id-a", "a", NOW_US), (2, "id-b", "b", NOW_US), (3, "id-a", "a", NOW_US)],
            new_runs=[new_run(1), new_run(2), new_run(3)],
            ended=[ended(1, agent_number=2), ended(2), ended(3, agent_number=9)],
        )
    )
    reader = database.reader()
    found = {
        listed.run.seq: (listed.agent_id, listed.agent_name)
        for listed in reader.runs(RunFilter(), None, 9).runs
    }
    assert found == {1: ("id-b", "b"), 2: (None, None), 3: (None, None)}
    listed = reader.run(run_id(1))
    assert listed is not None
    assert (listed.agent_id, listed.agent_name) == ("id-b", "b")
    assert store.agent_numbers(["id-a", "id-b", "nobody"]) == {"id-a": 3, "id-b": 2}


def test_an_unknown_run_is_none(reader: Reader) -> None:
    assert reader.run(run_id(99)) is None


def test_runs_are_listed_newest_first_in_pages(reader: Reader) -> None:
    assert _seqs(reader, limit=4) == [6, 5, 4, 3]
    assert _seqs(reader, before=3, limit=4) == [2, 1]


def test_runs_are_filtered(reader: Reader) -> None:
    assert _seqs(reader, kind=RunKind.FLOW) == [1]
    assert _seqs(reader, flow_seq=1) == [5, 4, 3, 2]
    assert _seqs(reader, states=(RunState.COMPLETED, RunState.FAILED)) == [3, 2]
    assert _seqs(reader, flow_seq=1, states=(RunState.PENDING,), before=5) == [4]


def test_runs_are_found_by_a_part_of_their_name(reader: Reader) -> None:
    assert _seqs(reader, name_contains="OTTER") == [1]
    assert _seqs(reader, name_contains="add-") == [6, 4, 3, 2], "an unnamed run is named after its task"
    assert _seqs(reader, name_contains="add-4") == [4]
    assert _seqs(reader, name_contains="0%_s") == [5], "wildcards are ordinary characters"
    assert _seqs(reader, name_contains="%") == [5]


def test_events_come_in_order(reader: Reader) -> None:
    assert reader.events(3) == [event(3, attempt=1), event(3, attempt=2)]
    assert reader.events(6) == []


def test_logs_of_a_flow_run_include_those_of_its_runs(reader: Reader, store: Store, batch: Batches) -> None:
    rows = [
        LogRow(1, None, NOW_US, 20, "flow", "begins", 1),
        LogRow(2, 1, NOW_US + 1, 20, "task", "two", 2),
        LogRow(6, None, NOW_US + 2, 40, "task", "elsewhere", 3),
        LogRow(5, 1, NOW_US + 3, 30, "task", "five", 4),
        LogRow(1, None, NOW_US + 4, 20, "flow", "ends", 5),
    ]
    store.commit(batch(number=2, logs=rows))
    found = reader.logs(1, 0, 10, MIB)
    assert [(log.message, log.run_name) for log in found] == [
        ("begins", "curious-otter"), ("two", "add-2"), ("five", "100%_special"), ("ends", "curious-otter"),
    ]  # fmt: skip
    assert [log.log_id for log in found] == sorted(log.log_id for log in found)
    page = reader.logs(1, found[0].log_id, 2, MIB)
    assert page == found[1:3]
    assert [(log.message, log.level, log.logger) for log in reader.logs(6, 0, 10, MIB)] == [
        ("elsewhere", 40, "task")
    ]


def test_a_page_of_a_log_is_cut_by_bytes_and_its_texts_by_their_limit(
    reader: Reader, store: Store, batch: Batches
) -> None:
    text = "ü" * LOG_LIMIT  # twice the limit in bytes
    store.commit(batch(number=2, logs=[LogRow(1, None, NOW_US, 20, "x", text, n) for n in range(1, 6)]))
    page = reader.logs(1, 0, 10, 2 * LOG_LIMIT)
    assert len(page) == 2
    assert {len(log.message.encode()) <= LOG_LIMIT + 3 for log in page} == {True}
    assert len(reader.logs(1, page[-1].log_id, 10, 1)) == 1, "at least one, however little fits"
    assert len(reader.logs(1, 0, 10, 20 * LOG_LIMIT)) == 5


def test_listed_runs_come_without_payloads(reader: Reader) -> None:
    listed = [entry.run for entry in reader.runs(RunFilter(), None, 10).runs]
    assert {(run.args, run.result) for run in listed} == {(None, None)}
    found = reader.run(run_id(6))
    assert found is not None
    assert found.run.args is not None


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB])
def test_a_blob_is_read_back_in_parts(reader: Reader, store: Store, size: int) -> None:
    data = os.urandom(size)
    store.put_blob(b"digest", data)
    assert reader.blob_size(b"digest") == size
    parts = list(reader.blob_parts(b"digest"))
    assert b"".join(parts) == data
    assert all(0 < len(part) <= MIB for part in parts)


@pytest.mark.parametrize("offset", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB + 5, 2 * MIB + 7, 9 * MIB])
def test_a_blob_is_read_from_a_byte_on(reader: Reader, store: Store, offset: int) -> None:
    data = os.urandom(2 * MIB + 7)
    store.put_blob(b"digest", data)
    parts = list(reader.blob_parts(b"digest", offset))
    assert b"".join(parts) == data[offset:]
    assert all(0 < len(part) <= MIB for part in parts)


def test_a_stored_blob_is_left_alone(reader: Reader, store: Store, batch: Batches) -> None:
    store.put_blob(b"digest", b"first")
    store.put_blob(b"digest", b"second!")
    store.commit(batch(number=2, blobs=[(b"digest", b"third"), (b"other", b"small")]))
    assert list(reader.blob_parts(b"digest")) == [b"first"]
    assert list(reader.blob_parts(b"other")) == [b"small"]


def test_missing_blobs_are_named_in_order(reader: Reader, store: Store) -> None:
    store.put_blob(b"b", b"")
    assert reader.missing_blobs([b"c", b"b", b"a"]) == [b"c", b"a"]
    assert reader.blob_size(b"a") is None
    assert list(reader.blob_parts(b"a")) == []
    assert reader.missing_blobs([]) == []


def test_a_reader_cannot_write(reader: Reader, connections: list[Any]) -> None:
    assert reader.blob_size(b"a") is None
    with pytest.raises(Exception, match=r"read-?only"):
        connections[-1].execute("DELETE FROM run")


def test_a_run_that_is_resumed_is_listed_as_open_and_no_more_as_failed(
    database: Database, store: Store, batch: Batches
) -> None:
    store.commit(
        batch(
            templates=[template(1, "add")],
            new_runs=[new_run(1, kind=RunKind.FLOW), new_run(2)],
            ended=[ended(1, state=RunState.FAILED), ended(2)],
            ended_badly=[(1,)],
            low_seq=3,
        )
    )
    store.maintain()
    reopened = (int(RunState.PENDING), 0, 2, None, None, None, None, None, 1)
    removed = [(RunState.FAILED, RunKind.FLOW, 1)]
    store.commit(batch(reopened=[reopened], bad_ends_removed=removed, low_seq=1))
    reader = database.reader()
    assert _seqs(reader, states=(RunState.FAILED,)) == []
    assert _seqs(reader, states=(RunState.PENDING,)) == [1]


def test_calls_of_a_flow_run_are_what_its_body_has_called(
    database: Database, store: Store, batch: Batches
) -> None:
    inside = [new_run(seq, flow_seq=1, ordinal=seq) for seq in (2, 3, 5)]
    called_by_a_task = new_run(4, flow_seq=1, caller_id=run_id(2))
    store.commit(
        batch(
            templates=[template(1, "add")],
            new_runs=[new_run(1, kind=RunKind.FLOW), *inside[:2], called_by_a_task, inside[2], new_run(6)],
            ended=[ended(2)],
        )
    )
    calls = database.reader().calls(1, 0, 2)
    assert [(call.seq, call.run_id, call.ordinal) for call in calls] == [(2, run_id(2), 2), (3, run_id(3), 3)]
    assert calls[0].state == RunState.COMPLETED
    assert (calls[0].args, calls[0].definition) == (new_run(2).args, template(1)[2])
    assert [call.seq for call in database.reader().calls(1, 3, 2)] == [5]
