"""Log stores: what runs have logged is stored in order, read across days, and removed by the day."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, Batches, new_run, template

from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_contract.states import RunKind
from taskyard_controlplane.storage.engine import parse_url, raw, writer_engine
from taskyard_controlplane.storage.interface import DAY_US, LogRow, LogStore, Reader, Store, day_of
from taskyard_controlplane.storage.postgres.logs import PostgresLogStore, partition_of
from taskyard_controlplane.storage.sqlite.logs import UPKEEP_BYTES

MIB = 1 << 20
TODAY = day_of(NOW_US)


def at(day: int, number: int = 0) -> int:
    """Return the number of a record that came so many days after today."""
    return (TODAY + day) * DAY_US + DAY_US // 2 + number


def record(log_id: int, seq: int = 2, flow_seq: int | None = 1, text: str = "", **changes: Any) -> LogRow:
    return LogRow(seq, flow_seq, log_id // 2, 20, "tests", text or str(log_id), log_id)._replace(**changes)


def ids(reader: Reader, seq: int = 2, after: int = 0, limit: int = 100, **options: Any) -> list[int]:
    return [found.log_id for found in reader.logs(seq, after, limit, MIB, **options)]


@pytest.fixture
def opened(database: Database, batch: Batches) -> Iterator[Callable[[], Store]]:
    """Opens the store and its log store, one after the other."""
    stores: list[Store] = []

    def open_() -> Store:
        if stores:
            stores[-1].logs.close()
            stores[-1].close()
        stores.append(database.store())
        owned = stores[-1].open()
        stores[-1].logs.open(owned.generation, at(0))
        return stores[-1]

    yield open_
    stores[-1].logs.close()


@pytest.fixture
def owner(opened: Callable[[], Store], batch: Batches) -> Store:
    """The store, with a flow run, 1, and runs inside it, 2 and 3."""
    store = opened()
    runs = [new_run(1, kind=RunKind.FLOW), new_run(2, flow_seq=1), new_run(3, flow_seq=1)]
    store.commit(batch(templates=[template()], new_runs=runs))
    return store


@pytest.fixture
def logs(owner: Store) -> LogStore:
    return owner.logs


@pytest.fixture
def reader(database: Database, owner: Store) -> Reader:
    return database.reader()


def test_records_come_back_as_they_were_with_their_run(logs: LogStore, reader: Reader) -> None:
    text = "wörds 'and' \"more\" \\ \n {},NULL"
    logs.append([record(at(0), text=text, level=40, logger="a.b"), record(at(0, 1), 3)], {}, at(0))
    [found] = reader.logs(2, 0, 10, MIB)
    assert (found.log_id, found.at_us, found.level, found.logger, found.message, found.run_name) == (
        at(0), at(0) // 2, 40, "a.b", text, "add-2",
    )  # fmt: skip
    assert found.run_id == new_run(2).run_id


def test_whatever_text_a_run_logs_is_stored(logs: LogStore, reader: Reader) -> None:
    logs.append([record(at(0), text="a\0b")], {}, at(0))
    [found] = reader.logs(2, 0, 10, MIB)
    assert found.message in ("a\0b", "a\N{REPLACEMENT CHARACTER}b")


def test_the_log_of_a_flow_run_has_what_the_runs_inside_it_logged_once(
    logs: LogStore, reader: Reader
) -> None:
    rows = [record(at(0, 0), 1, 1), record(at(0, 1), 2), record(at(0, 2), 3), record(at(0, 3), 9, None)]
    logs.append(rows, {}, at(0))
    assert ids(reader, 1) == [at(0, 0), at(0, 1), at(0, 2)]
    assert ids(reader, 2) == [at(0, 1)]


def test_a_log_goes_on_over_days(logs: LogStore, reader: Reader) -> None:
    """A run that lives for three days: page by page, each record once."""
    numbers = [at(day, number) for day in range(3) for number in range(4)]
    for number in numbers:
        logs.append([record(number)], {}, number)
    assert ids(reader) == numbers
    paged, after = list[int](), 0
    while page := ids(reader, after=after, limit=3):
        assert len(page) <= 3
        paged, after = paged + page, page[-1]
    assert paged == numbers


def test_a_batch_over_midnight_is_stored_by_days(logs: LogStore, reader: Reader) -> None:
    logs.append([record(at(0)), record(at(1))], {}, at(1))
    assert ids(reader) == [at(0), at(1)]
    assert [one.begins_us // DAY_US for one in logs.usage()][-2:] == [TODAY, TODAY + 1] or len(logs.usage()) == 3


def test_what_the_control_plane_says_is_read_in_between(
    owner: Store, reader: Reader, batch: Batches
) -> None:
    """And what earlier releases recorded, before everything else."""
    owner.logs.append([record(at(0, 0)), record(at(0, 2))], {}, at(0))
    owner.commit(batch(number=2, logs=[record(5), record(at(0, 1)), record(at(0, 3))]))
    assert ids(reader) == [5, at(0, 0), at(0, 1), at(0, 2), at(0, 3)]
    assert ids(reader, after=at(0, 0), limit=2) == [at(0, 1), at(0, 2)]
    assert ids(reader, up_to_id=at(0, 1)) == [5, at(0, 0), at(0, 1)]


def test_a_page_has_so_many_bytes_at_most_and_one_record_at_least(logs: LogStore, reader: Reader) -> None:
    logs.append([record(at(0, number), text="x" * 1000) for number in range(10)], {}, at(0))
    assert len(reader.logs(2, 0, 10, 3 * 1100)) == 3
    assert len(reader.logs(2, 0, 10, 1)) == 1


def test_what_is_repeated_is_stored_once(logs: LogStore, reader: Reader) -> None:
    rows = [record(at(0)), record(at(0, 1))]
    logs.append(rows, {b"s" * 16: 1}, at(0))
    logs.append(rows, {b"s" * 16: 1}, at(0))
    assert ids(reader) == [at(0), at(0, 1)]


def test_the_next_owner_goes_on_where_the_last_one_was(
    opened: Callable[[], Store], owner: Store, database: Database
) -> None:
    if "sqlite://?" in database.url:
        pytest.skip("a database in memory has no next owner")
    owner.logs.append([record(at(0), 7), record(at(0, 1), 3)], {b"s" * 16: 3, b"t" * 16: 1}, at(0))
    owner.logs.append([], {b"s" * 16: 4}, at(0, 5))
    owner.logs.append([], {b"s" * 16: 2}, at(0, 6))
    owner.logs.close()
    owner.close()
    store = database.store()
    position = store.logs.open(store.open().generation, at(0))
    store.logs.close()
    assert (position.last_id, position.last_seq) == (at(0, 1), 7)
    assert position.marks == {b"s" * 16: 4, b"t" * 16: 1}, "they never fall"


def test_days_are_removed_whole_and_readers_are_told(logs: LogStore, reader: Reader) -> None:
    for day in range(4):
        logs.append([record(at(day))], {}, at(day))
    assert reader.logs_removed_before_us() == 0
    assert logs.remove_before(at(-3)) == []
    assert reader.logs_removed_before_us() == 0, "nothing went"
    removed = logs.remove_before(at(2))
    assert [one.begins_us for one in removed] == [TODAY * DAY_US, (TODAY + 1) * DAY_US]
    assert all(one.size > 0 for one in removed)
    assert ids(reader) == [at(2), at(3)], "the day that has not ended stays"
    assert reader.logs_removed_before_us() == (TODAY + 2) * DAY_US
    assert logs.remove_before(at(2)) == []
    logs.append([record(at(3, 1))], {}, at(3))
    assert ids(reader) == [at(2), at(3), at(3, 1)]


def test_the_day_that_is_written_stays(logs: LogStore, reader: Reader) -> None:
    logs.append([record(at(0))], {}, at(0))
    if isinstance(logs, PostgresLogStore):
        assert logs.remove_before(at(0)) == []
    else:
        assert logs.remove_before(at(5)) == []
    logs.append([record(at(0, 1))], {}, at(0))
    assert ids(reader) == [at(0), at(0, 1)]


def test_usage_is_told_by_the_day(logs: LogStore) -> None:
    logs.append([record(at(0), text="x" * 30_000)], {}, at(0))
    logs.maintain(at(0))
    [today] = [one for one in logs.usage() if one.begins_us == TODAY * DAY_US]
    assert today.size >= 30_000 or isinstance(logs, PostgresLogStore)  # where texts are compressed
    assert today.size > 0


def test_upkeep_may_be_done_at_any_time(logs: LogStore, reader: Reader) -> None:
    for day in range(3):
        logs.maintain(at(day))
        logs.append([record(at(day))], {}, at(day))
        logs.maintain(at(day))
    logs.maintain(at(9))
    assert ids(reader) == [at(0), at(1), at(2)]


# Files.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "taskyard-logs"


@pytest.fixture
def on_file(request: pytest.FixtureRequest, database: Database) -> None:
    if "sqlite:///" not in database.url:
        pytest.skip("only of files")


@pytest.mark.usefixtures("on_file")
def test_a_day_is_a_file_beside_the_database_that_is_closed_when_it_is_over(
    logs: LogStore, folder: Path
) -> None:
    logs.append([record(at(0))], {}, at(0))
    logs.append([record(at(1))], {}, at(1))
    logs.maintain(at(1))
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "2023-11-14.sqlite3", "nothing is beside it"
    assert [name for name in names if name.startswith("2023-11-15")][0] == "2023-11-15.sqlite3"
    with closing(sqlite3.connect(f"file:{folder}/{names[0]}?mode=ro&immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM log_record").fetchone() == (1,)


@pytest.mark.usefixtures("on_file")
def test_a_removal_that_was_interrupted_is_finished_and_its_days_are_not_shown(
    logs: LogStore, reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(3):
        logs.append([record(at(day))], {}, at(day))
    logs.maintain(at(2))

    def killed(path: Path, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed)
        logs.remove_before(at(2))
    assert ids(reader) == [at(2)]
    assert [one.begins_us // DAY_US for one in logs.usage()] == [TODAY + 2]
    logs.remove_before(at(2))
    assert sorted(path.name[:10] for path in folder.glob("2*.sqlite3")) == ["2023-11-16"]
    assert ids(reader) == [at(2)]


@pytest.mark.usefixtures("on_file")
def test_a_reader_of_a_day_that_goes_reads_on(logs: LogStore, reader: Reader, folder: Path) -> None:
    for day in range(2):
        logs.append([record(at(day))], {}, at(day))
    logs.maintain(at(1))
    with closing(sqlite3.connect(f"file:{folder}/2023-11-14.sqlite3?mode=ro", uri=True)) as reading:
        rows = reading.execute("SELECT log_id FROM log_record")
        logs.remove_before(at(1))
        assert rows.fetchall() == [(at(0),)]
    assert ids(reader) == [at(1)]


@pytest.mark.usefixtures("on_file")
def test_other_files_in_the_folder_are_left_alone(logs: LogStore, folder: Path) -> None:
    for day in range(2):
        logs.append([record(at(day))], {}, at(day))
    for name in ("notes.txt", "2023-11-01.txt", "2023-13-01.sqlite3"):
        (folder / name).write_text("mine")
    logs.remove_before(at(1))
    assert {path.name for path in folder.glob("*.txt")} == {"notes.txt", "2023-11-01.txt"}
    assert (folder / "2023-13-01.sqlite3").exists()


@pytest.mark.usefixtures("on_file")
def test_a_folder_that_cannot_be_written_is_said_and_used_again_when_it_can(
    logs: LogStore, reader: Reader, folder: Path
) -> None:
    folder.write_text("in the way")
    with pytest.raises(StorageUnavailable, match="logs cannot be stored"):
        logs.append([record(at(0))], {}, at(0))
    folder.unlink()
    logs.append([record(at(0))], {}, at(0))
    assert ids(reader) == [at(0)]


@pytest.mark.usefixtures("on_file")
def test_a_file_that_may_not_grow_is_full_and_nothing_of_the_batch_is_stored(
    logs: LogStore, reader: Reader
) -> None:
    logs.append([record(at(0))], {}, at(0))
    connection: sqlite3.Connection = logs._connection  # type: ignore[attr-defined]
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull):
        logs.append([record(at(0, n), text="x" * 4000) for n in range(1, 50)], {}, at(0))
    assert ids(reader) == [at(0)]
    logs.append([record(at(0, 50))], {}, at(0))
    assert ids(reader) == [at(0), at(0, 50)]


@pytest.mark.usefixtures("on_file")
def test_a_day_that_cannot_be_read_keeps_nobody_from_starting(
    logs: LogStore, owner: Store, database: Database, folder: Path
) -> None:
    logs.append([record(at(0))], {}, at(0))
    owner.logs.close()
    owner.close()
    (folder / "2023-11-13.sqlite3").write_bytes(os.urandom(8192))
    store = database.store()
    assert store.logs.open(store.open().generation, at(0)).last_id == at(0)
    store.logs.close()


@pytest.mark.usefixtures("on_file")
def test_upkeep_is_asked_for_when_much_was_appended(logs: LogStore) -> None:
    rows = [record(at(0, n), text="x" * 30_000) for n in range(UPKEEP_BYTES // 30_000 + 1)]
    logs.append(rows, {}, at(0))
    assert logs.upkeep_due
    logs.maintain(at(0))
    assert not logs.upkeep_due


# Partitions.


@pytest.fixture
def on_postgres(database: Database) -> Iterator[Any]:
    """Another connection to the database."""
    target = parse_url(database.url)
    if target.dialect != "postgresql":
        pytest.skip("only of PostgreSQL")
    engine = writer_engine(target)
    with engine.connect() as connection:
        yield raw(connection)
    engine.dispose()


def test_tomorrow_has_a_partition_today(on_postgres: Any, logs: LogStore) -> None:
    names = on_postgres.execute("SELECT relname FROM pg_class WHERE relname LIKE 'log_record_2%%'").fetchall()
    assert {(partition_of(TODAY),), (partition_of(TODAY + 1),)} <= set(names)


def test_who_was_replaced_appends_nothing(
    on_postgres: Any, database: Database, logs: LogStore, reader: Reader
) -> None:
    database.replace_owner()
    with pytest.raises(NotOwner):
        logs.append([record(at(0))], {}, at(0))
    assert ids(reader) == []


def test_a_partition_that_somebody_reads_is_left_to_the_next_time(
    on_postgres: Any, database: Database, owner: Store, reader: Reader
) -> None:
    waits: list[float] = []
    logs = PostgresLogStore(parse_url(database.url), waits.append)
    owner.logs.append([record(at(0))], {}, at(0))
    owner.logs.append([record(at(1))], {}, at(1))
    on_postgres.execute("BEGIN")
    on_postgres.execute(f"SELECT count(*) FROM {partition_of(TODAY)}")
    assert logs.remove_before(at(1)) == []
    assert len(waits) == 5
    assert ids(reader) == [at(0), at(1)]
    on_postgres.execute("COMMIT")
    assert [one.begins_us for one in logs.remove_before(at(1))] == [TODAY * DAY_US]
    assert ids(reader) == [at(1)]
    logs.close()


def test_a_partition_that_is_missing_is_made(on_postgres: Any, logs: LogStore, reader: Reader) -> None:
    on_postgres.execute(f"DROP TABLE {partition_of(TODAY)}")
    with pytest.raises(StorageUnavailable):
        logs.append([record(at(0))], {}, at(0))
    logs.append([record(at(0))], {}, at(0))
    logs.append([record(at(5))], {}, at(5))
    assert ids(reader) == [at(0), at(5)]


def test_a_connection_that_breaks_is_made_anew(on_postgres: Any, logs: LogStore, reader: Reader) -> None:
    logs.append([record(at(0))], {}, at(0))
    on_postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    with pytest.raises(StorageUnavailable):
        logs.append([record(at(0, 1))], {}, at(0))
    logs.append([record(at(0, 1))], {}, at(0))
    assert ids(reader) == [at(0), at(0, 1)]
