"""A database file that is not what was written before is refused, and noticed while it is open."""

import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.storage_rows import new_run, stored

from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.storage import create_store
from taskyard_controlplane.storage.interface import DatabaseLost, Store, WriteBatch


class Yard:
    """A directory with a database, and stores on it that end as killed processes do."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.path = directory / "ty.db"
        self.identity = directory / "ty.db.identity"
        self.log = directory / "ty.db-wal"
        self.opened: list[Store] = []

    def start(self) -> Store:
        store = create_store(f"sqlite:///{self.path}")
        store.open()
        self.opened.append(store)
        return store

    def commit(self, store: Store, number: int) -> None:
        batch = WriteBatch(number)
        batch.new_runs.append(new_run(number))
        store.commit(batch)

    def killed(self, commits: int, upkeep: bool = True) -> "Yard":
        """Run a server, kill it after so many commits, and return what it leaves behind."""
        store = self.start()
        for number in range(1, commits + 1):
            self.commit(store, number)
        if upkeep:
            store.maintain()
        return self.copied("killed")

    def copied(self, name: str) -> "Yard":
        """Copy all files as they are: what a crash at this moment leaves."""
        target = self.path.parent.parent / name
        shutil.copytree(self.path.parent, target)
        return Yard(target)

    def close(self) -> None:
        for store in self.opened:
            store.close()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path / "one")
    yield made
    made.close()


def refused(yard: Yard, because: str) -> None:
    noted = yard.identity.read_bytes()
    with pytest.raises(DatabaseLost, match=because) as error:
        yard.start()
    assert str(yard.identity) in str(error.value), "it says what to remove"
    assert yard.identity.read_bytes() == noted
    yard.identity.unlink()
    yard.start()
    yard.close()


def test_what_a_crash_leaves_is_never_refused(yard: Yard) -> None:
    left = [(0, yard.copied("before"))]
    store = yard.start()
    left.append((0, yard.copied("opened")))
    for number in range(1, 4):
        yard.commit(store, number)
        left.append((number, yard.copied(f"committed-{number}")))
        store.maintain()
        left.append((number, yard.copied(f"kept-up-{number}")))
    yard.close()
    left.append((3, yard.copied("closed")))
    for commits, each in left:
        found = stored(each.start(), *range(1, 5))
        assert [row is not None for row in found] == [number <= commits for number in range(1, 5)]
        each.close()


def test_a_note_older_than_the_database_is_what_a_crash_explains(yard: Yard) -> None:
    store = yard.start()
    early = yard.identity.read_text()
    for number in range(1, 4):
        yard.commit(store, number)
        store.maintain()
    left = yard.copied("left")
    assert left.identity.read_text() != early
    left.identity.write_text(early)
    assert stored(left.start(), 3)[0].seq == 3
    left.close()


def test_a_missing_log_is_noticed(yard: Yard) -> None:
    left = yard.killed(3)
    left.log.unlink()
    refused(left, "empty|lacks what was committed")


def test_a_log_that_is_missing_after_a_checkpoint_is_noticed(yard: Yard) -> None:
    yard.killed(3)
    yard.close()
    store = yard.start()
    for number in range(1, 3):
        yard.commit(store, number)
    with closing(sqlite3.connect(yard.path)) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    yard.commit(store, 3)
    store.maintain()
    left = yard.copied("checkpointed")
    left.log.unlink()
    refused(left, "lacks what was committed: it ends with commit 2 of generation 2, and had commit 3")


def test_a_truncated_log_is_noticed(yard: Yard) -> None:
    left = yard.killed(3)
    os.truncate(left.log, 100)
    refused(left, "empty|lacks what was committed")


@pytest.mark.parametrize("log_stays", [True, False])
def test_an_empty_file_is_refused_and_its_log_left_alone(yard: Yard, log_stays: bool) -> None:
    left = yard.killed(3)
    os.truncate(left.path, 0)
    log = left.log.read_bytes()
    if not log_stays:
        left.log.unlink()
    with pytest.raises(DatabaseLost, match="is empty"):
        left.start()
    assert not log_stays or left.log.read_bytes() == log


def test_a_missing_file_is_refused_and_none_is_made(yard: Yard) -> None:
    left = yard.killed(1)
    left.path.unlink()
    with pytest.raises(DatabaseLost, match="is gone"):
        left.start()
    assert not left.path.exists()


def test_another_database_is_refused(yard: Yard, tmp_path: Path) -> None:
    left = yard.killed(1)
    other = Yard(tmp_path / "other")
    other.start()
    other.close()
    left.log.unlink()
    shutil.copy(other.path, left.path)
    refused(left, "is another one")


def test_an_older_copy_is_refused(yard: Yard) -> None:
    yard.start()
    yard.close()
    early = yard.path.read_bytes()
    yard.opened.clear()
    left = yard.killed(2)
    left.log.unlink()
    left.path.write_bytes(early)
    refused(left, "lacks what was committed")


def test_a_copy_without_the_note_starts_and_gets_one(yard: Yard) -> None:
    left = yard.killed(2)
    noted = json.loads(left.identity.read_text())
    left.identity.unlink()
    store = left.start()
    assert stored(store, 2)[0].seq == 2
    again = json.loads(left.identity.read_text())
    assert (again["database_id"], again["generation"]) == (noted["database_id"], noted["generation"] + 1)
    left.close()


def test_an_empty_file_without_a_note_is_a_new_database(yard: Yard) -> None:
    yard.path.touch()
    store = yard.start()
    assert list(store.open_runs(0)) == []
    yard.commit(store, 1)
    assert stored(store, 1)[0].seq == 1


def test_a_note_that_makes_no_sense_is_refused(yard: Yard) -> None:
    left = yard.killed(1)
    left.identity.write_text("{}")
    refused(left, "nothing that makes sense")


def test_a_note_that_cannot_be_read_is_told(yard: Yard) -> None:
    left = yard.killed(1)
    left.identity.unlink()
    left.identity.mkdir()
    with pytest.raises(StorageUnavailable, match="cannot read"):
        left.start()


def _deleted(yard: Yard) -> None:
    for path in (yard.path, yard.log):
        path.unlink()


def _replaced(yard: Yard) -> None:
    copy = yard.path.with_name("copy")
    shutil.copy(yard.path, copy)
    copy.rename(yard.path)


def _without_log(yard: Yard) -> None:
    yard.log.unlink()


@pytest.mark.parametrize(
    ("happens", "said"),
    [(_deleted, "deleted"), (_replaced, "replaced"), (_without_log, "write-ahead log")],
)
def test_a_running_store_notices(yard: Yard, happens: Callable[[Yard], None], said: str) -> None:
    store = yard.start()
    yard.commit(store, 1)
    store.maintain()
    happens(yard)
    with pytest.raises(DatabaseLost, match=said):
        store.maintain()


def test_a_log_that_was_deleted_takes_nothing_along_when_the_store_ends_in_order(yard: Yard) -> None:
    store = yard.start()
    yard.commit(store, 1)
    yard.log.unlink()
    with pytest.raises(DatabaseLost):
        store.maintain()
    store.close()
    assert stored(yard.start(), 1)[0].seq == 1


def test_a_lost_connection_makes_no_new_database(yard: Yard) -> None:
    store = yard.start()
    _deleted(yard)
    store._disconnect()  # type: ignore[attr-defined]
    with pytest.raises(DatabaseLost, match="deleted"):
        yard.commit(store, 1)
    assert not yard.path.exists()


def test_a_connection_that_is_made_again_goes_on(yard: Yard) -> None:
    store = yard.start()
    yard.commit(store, 1)
    store._disconnect()  # type: ignore[attr-defined]
    yard.commit(store, 2)
    store.maintain()
    store.maintain()
    assert [row.seq for row in stored(store, 1, 2)] == [1, 2]


def test_a_note_that_cannot_be_written_stops_nothing(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store = yard.start()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    for number in (1, 2):
        yard.commit(store, number)
        store.maintain()
    assert len(caplog.messages) == 1
