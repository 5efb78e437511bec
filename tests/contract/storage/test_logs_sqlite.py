"""The log store on SQLite: a file for each day beside the database, whatever happens to it."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.databases import Database
from support.log_rows import TODAY, at, ids, record

from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_controlplane.storage.interface import DAY_US, LogStore, Reader, Store
from taskyard_controlplane.storage.sqlite.logs import UPKEEP_BYTES

pytestmark = pytest.mark.parametrize("database", ["sqlite_file"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "taskyard-logs"


def test_a_day_is_a_file_beside_the_database_that_is_closed_when_it_is_over(
    logs: LogStore, folder: Path
) -> None:
    logs.append([record(at(0))], {}, at(0))
    logs.append([record(at(1))], {}, at(1))
    logs.maintain(at(1))
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "2023-11-14.sqlite3", "nothing is beside it"
    assert "2023-11-15.sqlite3" in names
    with closing(sqlite3.connect(f"file:{folder}/{names[0]}?mode=ro&immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM log_record").fetchone() == (1,)


def test_a_removal_that_was_interrupted_is_finished_and_its_days_are_not_shown(
    logs: LogStore, log_reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(3):
        logs.append([record(at(day))], {}, at(day))
    logs.maintain(at(2))

    def killed(path: Path, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            logs.remove_before(at(2))
    assert ids(log_reader) == [at(2)]
    assert [one.begins_us // DAY_US for one in logs.usage()] == [TODAY + 2]
    logs.remove_before(at(2))
    assert sorted(path.name[:10] for path in folder.glob("2*.sqlite3")) == ["2023-11-16"]
    assert ids(log_reader) == [at(2)]


def test_a_reader_of_a_day_that_goes_reads_on(logs: LogStore, log_reader: Reader, folder: Path) -> None:
    for day in range(2):
        logs.append([record(at(day))], {}, at(day))
    logs.maintain(at(1))
    with closing(sqlite3.connect(f"file:{folder}/2023-11-14.sqlite3?mode=ro", uri=True)) as reading:
        rows = reading.execute("SELECT log_id FROM log_record")
        logs.remove_before(at(1))
        assert rows.fetchall() == [(at(0),)]
    assert ids(log_reader) == [at(1)]


def test_other_files_in_the_folder_are_left_alone(logs: LogStore, folder: Path) -> None:
    for day in range(2):
        logs.append([record(at(day))], {}, at(day))
    for name in ("notes.txt", "2023-11-01.txt", "2023-13-01.sqlite3"):
        (folder / name).write_text("mine")
    logs.remove_before(at(1))
    assert {path.name for path in folder.glob("*.txt")} == {"notes.txt", "2023-11-01.txt"}
    assert (folder / "2023-13-01.sqlite3").exists()


def test_a_folder_that_cannot_be_written_is_said_and_used_again_when_it_can(
    logs: LogStore, log_reader: Reader, folder: Path
) -> None:
    folder.write_text("in the way")
    with pytest.raises(StorageUnavailable, match="logs cannot be stored"):
        logs.append([record(at(0))], {}, at(0))
    folder.unlink()
    logs.append([record(at(0))], {}, at(0))
    assert ids(log_reader) == [at(0)]


def test_a_file_that_may_not_grow_is_full_and_nothing_of_the_batch_is_stored(
    logs: LogStore, log_reader: Reader
) -> None:
    logs.append([record(at(0))], {}, at(0))
    connection: sqlite3.Connection = logs._connection  # type: ignore[attr-defined]
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull):
        logs.append([record(at(0, n), text="x" * 4000) for n in range(1, 50)], {}, at(0))
    assert ids(log_reader) == [at(0)]
    logs.append([record(at(0, 50))], {}, at(0))
    assert ids(log_reader) == [at(0), at(0, 50)]


def test_a_day_that_cannot_be_read_keeps_nobody_from_starting_or_reading_the_others(
    logs: LogStore, log_reader: Reader, log_owner: Store, database: Database, folder: Path
) -> None:
    logs.append([record(at(0))], {}, at(0))
    log_owner.logs.close()
    log_owner.close()
    (folder / "2023-11-13.sqlite3").write_bytes(os.urandom(8192))
    store = database.store()
    assert store.logs.open(store.open().generation, at(0)).last_id == at(0)
    store.logs.close()
    assert ids(log_reader) == [at(0)]


def test_upkeep_is_asked_for_when_much_was_appended(logs: LogStore) -> None:
    rows = [record(at(0, n), text="x" * 30_000) for n in range(UPKEEP_BYTES // 30_000 + 1)]
    logs.append(rows, {}, at(0))
    assert logs.upkeep_due
    logs.maintain(at(0))
    assert not logs.upkeep_due


def test_a_day_that_a_killed_process_left_open_is_written_back_by_the_next_one(
    logs: LogStore, log_reader: Reader, log_owner: Store, database: Database, folder: Path, tmp_path: Path
) -> None:
    logs.append([record(at(0))], {}, at(0))
    shutil.copytree(folder, tmp_path / "as-it-was")
    logs.close()
    log_owner.close()
    shutil.rmtree(folder)
    (tmp_path / "as-it-was").rename(folder)
    wal = folder / "2023-11-14.sqlite3-wal"
    store = database.store()
    generation = store.open().generation
    assert store.logs.open(generation, at(0)).last_id == at(0)
    assert wal.exists(), "that of today will be written on"
    assert store.logs.open(generation, at(1)).last_id == at(0)
    assert not wal.exists()
    assert ids(log_reader) == [at(0)]
