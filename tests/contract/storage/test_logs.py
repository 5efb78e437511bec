"""Log stores: what runs have logged is stored in order, read across days, and removed by the day."""

import pytest
from support.databases import Database
from support.log_rows import MIB, TODAY, at, ids, record
from support.storage_rows import Batches, new_run

from taskyard_controlplane.storage.interface import DAY_US, LogStore, Reader, Store
from taskyard_controlplane.storage.postgres.logs import PostgresLogStore


def test_records_come_back_as_they_were_with_their_run(logs: LogStore, log_reader: Reader) -> None:
    text = "wörds 'and' \"more\" \\ \n {},NULL"
    logs.append([record(at(0), text=text, level=40, logger="a.b"), record(at(0, 1), 3)], {}, at(0))
    [found] = log_reader.logs(2, 0, 10, MIB)
    assert (found.log_id, found.at_us, found.level, found.logger, found.message, found.run_name) == (
        at(0), at(0) // 2, 40, "a.b", text, "add-2",
    )  # fmt: skip
    assert found.run_id == new_run(2).run_id


def test_whatever_text_a_run_logs_is_stored(logs: LogStore, log_reader: Reader) -> None:
    logs.append([record(at(0), text="a\0b")], {}, at(0))
    [found] = log_reader.logs(2, 0, 10, MIB)
    assert found.message in ("a\0b", "a\N{REPLACEMENT CHARACTER}b")


def test_the_log_of_a_flow_run_has_what_the_runs_inside_it_logged_once(
    logs: LogStore, log_reader: Reader
) -> None:
    rows = [record(at(0, 0), 1, 1), record(at(0, 1), 2), record(at(0, 2), 3), record(at(0, 3), 9, None)]
    logs.append(rows, {}, at(0))
    assert ids(log_reader, 1) == [at(0, 0), at(0, 1), at(0, 2)]
    assert ids(log_reader, 2) == [at(0, 1)]


def test_a_log_goes_on_over_days(logs: LogStore, log_reader: Reader) -> None:
    """A run that lives for three days: page by page, each record once."""
    numbers = [at(day, number) for day in range(3) for number in range(4)]
    for number in numbers:
        logs.append([record(number)], {}, number)
    assert ids(log_reader) == numbers
    paged, after = list[int](), 0
    while page := ids(log_reader, after=after, limit=3):
        assert len(page) <= 3
        paged, after = paged + page, page[-1]
    assert paged == numbers


def test_a_batch_over_midnight_is_stored_by_days(logs: LogStore, log_reader: Reader) -> None:
    logs.append([record(at(0)), record(at(1))], {}, at(1))
    assert ids(log_reader) == [at(0), at(1)]
    assert [one.begins_us // DAY_US for one in logs.usage()][-2:] == [TODAY, TODAY + 1] or len(
        logs.usage()
    ) == 3


def test_what_the_control_plane_says_is_read_in_between(
    log_owner: Store, log_reader: Reader, batch: Batches
) -> None:
    """And what earlier releases recorded, before everything else."""
    log_owner.logs.append([record(at(0, 0)), record(at(0, 2))], {}, at(0))
    log_owner.commit(batch(number=2, logs=[record(5), record(at(0, 1)), record(at(0, 3))]))
    assert ids(log_reader) == [5, at(0, 0), at(0, 1), at(0, 2), at(0, 3)]
    assert ids(log_reader, after=at(0, 0), limit=2) == [at(0, 1), at(0, 2)]
    assert ids(log_reader, up_to_id=at(0, 1)) == [5, at(0, 0), at(0, 1)]


def test_a_page_has_so_many_bytes_at_most_and_one_record_at_least(logs: LogStore, log_reader: Reader) -> None:
    logs.append([record(at(0, number), text="x" * 1000) for number in range(10)], {}, at(0))
    assert len(log_reader.logs(2, 0, 10, 3 * 1100)) == 3
    assert len(log_reader.logs(2, 0, 10, 1)) == 1


def test_what_is_repeated_is_stored_once(logs: LogStore, log_reader: Reader) -> None:
    rows = [record(at(0)), record(at(0, 1))]
    logs.append(rows, {b"s" * 16: 1}, at(0))
    logs.append(rows, {b"s" * 16: 1}, at(0))
    assert ids(log_reader) == [at(0), at(0, 1)]


def test_days_are_removed_whole_and_readers_are_told(logs: LogStore, log_reader: Reader) -> None:
    for day in range(4):
        logs.append([record(at(day))], {}, at(day))
    assert log_reader.logs_removed_before_us() == 0
    assert logs.remove_before(at(-3)) == []
    assert log_reader.logs_removed_before_us() == 0, "nothing went"
    removed = logs.remove_before(at(2))
    assert [one.begins_us for one in removed] == [TODAY * DAY_US, (TODAY + 1) * DAY_US]
    assert all(one.size > 0 for one in removed)
    assert ids(log_reader) == [at(2), at(3)], "the day that has not ended stays"
    assert log_reader.logs_removed_before_us() == (TODAY + 2) * DAY_US
    assert logs.remove_before(at(2)) == []
    logs.append([record(at(3, 1))], {}, at(3))
    assert ids(log_reader) == [at(2), at(3), at(3, 1)]


def test_the_day_that_is_written_stays(logs: LogStore, log_reader: Reader) -> None:
    logs.append([record(at(0))], {}, at(0))
    assert logs.remove_before(at(5)) == []
    logs.append([record(at(0, 1))], {}, at(0))
    assert ids(log_reader) == [at(0), at(0, 1)]


def test_usage_is_told_by_the_day(logs: LogStore) -> None:
    logs.append([record(at(0), text="x" * 30_000)], {}, at(0))
    logs.maintain(at(0))
    [today] = [one for one in logs.usage() if one.begins_us == TODAY * DAY_US]
    assert today.size >= 30_000 or isinstance(logs, PostgresLogStore)  # where texts are compressed
    assert today.size > 0


def test_upkeep_may_be_done_at_any_time(logs: LogStore, log_reader: Reader) -> None:
    for day in range(3):
        logs.maintain(at(day))
        logs.append([record(at(day))], {}, at(day))
        logs.maintain(at(day))
    logs.maintain(at(9))
    assert ids(log_reader) == [at(0), at(1), at(2)]


@pytest.mark.parametrize("database", ["sqlite_file", "postgresql"], indirect=True)
def test_the_next_owner_goes_on_where_the_last_one_was(log_owner: Store, database: Database) -> None:
    log_owner.logs.append([record(at(0), 7), record(at(0, 1), 3)], {b"s" * 16: 3, b"t" * 16: 1}, at(0))
    log_owner.logs.append([], {b"s" * 16: 4}, at(0, 5))
    log_owner.logs.append([], {b"s" * 16: 2}, at(0, 6))
    log_owner.logs.close()
    log_owner.close()
    store = database.store()
    position = store.logs.open(store.open().generation, at(0))
    store.logs.close()
    assert (position.last_id, position.last_seq) == (at(0, 1), 7)
    assert position.marks == {b"s" * 16: 4, b"t" * 16: 1}, "they never fall"
