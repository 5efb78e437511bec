"""What an SQLite store does when its disk is full, its file is locked, or somebody else owns it."""

import _sqlite3
import ctypes
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.storage_rows import Batches, ended, event, new_run, stored

from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_controlplane.storage import create_store
from taskyard_controlplane.storage.errors import DatabaseInUse
from taskyard_controlplane.storage.interface import Store
from taskyard_controlplane.storage.sqlite import store as sqlite_store

OPEN_AND_WAIT = """
import sys
from taskyard_controlplane.storage import create_store
store = create_store(sys.argv[1])
store.open()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(sqlite_file_url: str) -> Iterator[Store]:
    store = create_store(sqlite_file_url)
    store.open()
    yield store
    store.close()


def _pragma(connections: list[Any], text: str) -> None:
    """Change a setting of the store's own connection, which is the newest."""
    connections[-1].execute(f"PRAGMA {text}").fetchall()


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path]:
    """Mount a file system of 2 MB."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _may_mount() -> bool:
    probe = ["unshare", "--mount", "true"]
    return os.geteuid() == 0 and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _assert_refused_whole(store: Store, batch: Batches) -> None:
    rows = [new_run(seq, args=os.urandom(4000)) for seq in range(2, 1000)]
    with pytest.raises(StorageFull, match="the database has no room") as caught:
        store.commit(batch(new_runs=rows, events=[event(1)], ended=[ended(1)]))
    assert caught.value.retry_after > 0
    assert store.events_of([1]) == []
    assert stored(store, 2, 999) == [None, None]
    assert stored(store, 1)[0].ended_us is None


def test_a_full_database_refuses_the_whole_batch_and_goes_on(
    store: Store, batch: Batches, connections: list[Any]
) -> None:
    store.commit(batch(new_runs=[new_run(1)]))
    _pragma(connections, "max_page_count = 40")
    _assert_refused_whole(store, batch)
    _pragma(connections, "max_page_count = 100000")
    store.commit(batch(new_runs=[new_run(seq) for seq in range(2, 1000)], ended=[ended(1)]))
    assert None not in stored(store, 1, 2, 999)


def test_a_full_disk_refuses_the_whole_batch_and_goes_on(
    tmp_path: Path, batch: Batches, connections: list[Any]
) -> None:
    """On a disk that is really full where one can be made, else with files kept from growing."""
    if not _may_mount():
        _with_small_files(tmp_path, batch, connections)
        return
    with (
        _small_disk(tmp_path / "disk") as disk,
        closing(create_store(f"sqlite:///{disk}/taskyard.db")) as store,
    ):
        store.open()
        store.commit(batch(new_runs=[new_run(1)]))
        _assert_refused_whole(store, batch)
        store.commit(batch(new_runs=[new_run(2)], ended=[ended(1)]))
        assert None not in stored(store, 1, 2)


def _with_small_files(tmp_path: Path, batch: Batches, connections: list[Any]) -> None:
    with closing(create_store(f"sqlite:///{tmp_path}/taskyard.db")) as store:
        store.open()
        store.commit(batch(new_runs=[new_run(1)]))
        _pragma(connections, "max_page_count = 40")
        _assert_refused_whole(store, batch)


def test_a_file_that_became_read_only_counts_as_full(
    store: Store, batch: Batches, connections: list[Any]
) -> None:
    _pragma(connections, "query_only = ON")
    with pytest.raises(StorageFull, match="read-only"):
        store.commit(batch(new_runs=[new_run(1)]))
    _pragma(connections, "query_only = OFF")
    store.commit(batch(new_runs=[new_run(1)]))
    assert stored(store, 1)[0].seq == 1


def test_a_file_locked_by_somebody_else_is_unavailable_until_it_is_not(
    store: Store, batch: Batches, connections: list[Any], tmp_path: Path
) -> None:
    _pragma(connections, "busy_timeout = 20")
    tried = batch(new_runs=[new_run(1)], events=[event(1)])
    with closing(sqlite3.connect(tmp_path / "taskyard.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="does not answer") as caught:
            store.commit(tried)
        assert caught.value.retry_after > 0
    tried.repeated = True
    store.commit(tried)
    assert len(store.events_of([1])) == 1


def test_a_second_process_is_refused_by_name(store: Store, sqlite_file_url: str, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-c", OPEN_AND_WAIT, sqlite_file_url], capture_output=True, text=True, timeout=30
    )
    assert second.returncode != 0
    assert f"{tmp_path}/taskyard.db is in use by process {os.getpid()}" in second.stderr


def test_a_killed_process_leaves_nothing_in_the_way(sqlite_file_url: str) -> None:
    command = [sys.executable, "-c", OPEN_AND_WAIT, sqlite_file_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        with (
            closing(create_store(sqlite_file_url)) as refused,
            pytest.raises(DatabaseInUse, match=str(first.pid)),
        ):
            refused.open()
        first.send_signal(signal.SIGKILL)
    with closing(create_store(sqlite_file_url)) as store:
        assert store.open().generation == 2


def test_a_database_in_memory_has_one_owner_too(sqlite_memory_url: str) -> None:
    with (
        closing(create_store(sqlite_memory_url)) as first,
        closing(create_store(sqlite_memory_url)) as second,
    ):
        first.open()
        with pytest.raises(DatabaseInUse, match="in memory"):
            second.open()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match=r"file/sub/x\.db\.lock"):
        create_store(f"sqlite:///{tmp_path}/file/sub/x.db").open()


def test_a_damaged_database_is_refused_when_it_is_opened(sqlite_file_url: str, tmp_path: Path) -> None:
    with closing(create_store(sqlite_file_url)) as store:
        store.open()
    file = tmp_path / "taskyard.db"
    file.write_bytes(b"no database at all" + file.read_bytes()[18:])
    with pytest.raises(StorageUnavailable, match=r"the database is damaged \[[0-9a-f]{8}\]; restore it"):
        create_store(sqlite_file_url).open()


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    with closing(create_store(f"sqlite:///{tmp_path}/a/b/x.db")) as store:
        store.open()
    assert (tmp_path / "a/b/x.db").exists()


def test_the_file_is_set_up_for_durable_commits(store: Store, connections: list[Any]) -> None:
    settings = {
        name: connections[-1].execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "page_size", "wal_autocheckpoint", "journal_size_limit")
    }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "page_size": 4096,
        "wal_autocheckpoint": 0,
        "journal_size_limit": -1,
    }


def test_the_log_is_reused_not_grown(sqlite_file_url: str, tmp_path: Path, batch: Batches) -> None:
    """Under load without a pause the log stays bounded, because commits ask for checkpoints themselves."""
    log = tmp_path / "taskyard.db-wal"
    with closing(create_store(sqlite_file_url)) as store:
        store.open()
        sizes = []
        for start in range(1, 13):
            rows = [new_run(start * 1000 + index, args=b"x" * 16384) for index in range(1000)]
            store.commit(batch(new_runs=rows))
            sizes.append(log.stat().st_size)
        assert sizes[-1] == sizes[-5], "it has stopped growing"
        assert sizes[-1] < 160 << 20


def test_pages_in_memory_are_let_go_when_little_is_written(
    sqlite_file_url: str, batch: Batches, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "LITTLE_ROWS", 2)
    seconds = 0.0
    executed: list[str] = []
    with closing(create_store(sqlite_file_url, lambda: seconds)) as store:
        store.open()
        connections[-1].set_trace_callback(executed.append)

        def let_go() -> int:
            store.maintain()
            return sum("shrink_memory" in sql for sql in executed)

        seconds = 19.0
        store.commit(batch(new_runs=[new_run(1)]))
        assert let_go() == 0
        seconds = 20.0
        assert let_go() == 1
        seconds = 40.0
        assert let_go() == 1, "nothing has come since"
        store.commit(batch(new_runs=[new_run(2), new_run(3), new_run(4)]))
        seconds = 60.0
        assert let_go() == 1, "it was busy"
        seconds = 80.0
        assert let_go() == 2
        assert [run.seq for run in stored(store, 1) + stored(store, 2)] == [1, 2]


def test_values_that_were_bound_last_are_let_go_too(sqlite_file_url: str, batch: Batches) -> None:
    sqlite = ctypes.CDLL(getattr(_sqlite3, "__file__", None))  # finds what it is linked with as well
    sqlite.sqlite3_memory_used.restype = ctypes.c_int64
    seconds = 0.0
    with closing(create_store(sqlite_file_url, lambda: seconds)) as store:
        store.open()
        for first, rows in ((1, 128), (129, 64), (193, 32)):  # a statement each
            new = [new_run(seq, args=b"x" * 32_768) for seq in range(first, first + rows)]
            store.commit(batch(new_runs=new))
        busy = sqlite.sqlite3_memory_used()
        seconds = 20.0
        store.maintain()
        assert sqlite.sqlite3_memory_used() < 2 << 20 < 10 << 20 < busy


def test_a_checkpoint_without_room_undoes_no_commit(
    store: Store, batch: Batches, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed stands, and what comes next is not refused for it."""
    failures = 0

    def fail(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise StorageFull("no room for the checkpoint", retry_after=5.0)

    monkeypatch.setattr(sqlite_store, "MOST_PAGES", 1)
    store.commit(batch(new_runs=[new_run(1)]))
    assert store.checkpoint_due
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_store, "trim_commit_log", fail)
        store.commit(batch(new_runs=[new_run(2)]))
    assert failures == 1
    assert [run.seq for run in stored(store, 1) + stored(store, 2)] == [1, 2]
    executed: list[str] = []
    connections[-1].set_trace_callback(executed.append)
    store.commit(batch(new_runs=[new_run(3)]))
    assert any("wal_checkpoint" in sql for sql in executed), "it was repeated"


def test_payload_is_copied_into_the_database_soon(store: Store, batch: Batches) -> None:
    """Or whoever commits next would wait for as long as the disk takes for all of it."""
    part = sqlite_store.MOST_PAYLOAD // 2
    store.commit(batch(blobs=[(b"a" * 32, bytes(part - 1))]))
    assert not store.checkpoint_due
    store.commit(batch(blobs=[(b"b" * 32, bytes(part + 1))]))
    assert store.checkpoint_due
    store.commit(batch(new_runs=[new_run(1)]))
    assert not store.checkpoint_due
