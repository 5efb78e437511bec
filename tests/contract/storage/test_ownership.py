"""One owner at a time, on every database."""

import os
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Connection, text
from support.storage_rows import Batches, ended, event, new_run, stored

from taskyard_contract.errors import NotOwner, StorageUnavailable
from taskyard_contract.states import RunState
from taskyard_controlplane.storage import create_store
from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.errors import DatabaseInUse, SchemaNotUnderstood
from taskyard_controlplane.storage.interface import Store


class Database(Protocol):
    url: str

    def store(self) -> Store: ...

    def replace_owner(self) -> None: ...


def test_a_replaced_owner_cannot_commit(database: Database, store: Store, batch: Batches) -> None:
    database.replace_owner()
    with pytest.raises(NotOwner, match="generation 1"):
        store.commit(batch(new_runs=[new_run(1)], events=[event(1)]))
    with pytest.raises(NotOwner):
        store.commit(batch(new_runs=[new_run(seq) for seq in range(1, 200)]))
    assert stored(store, 1) == [None]
    assert store.events_of([1]) == []


def test_a_replaced_owner_cannot_repeat_a_commit(database: Database, store: Store, batch: Batches) -> None:
    tried = batch(new_runs=[new_run(1)])
    store.commit(tried)
    database.replace_owner()
    tried.repeated = True
    with pytest.raises(NotOwner):
        store.commit(tried)


def test_a_replaced_owner_cannot_store_a_blob(database: Database, store: Store) -> None:
    database.replace_owner()
    with pytest.raises(NotOwner):
        store.put_blob(b"digest", b"data")


def test_a_store_that_was_refused_leaves_the_owner_alone(
    database: Database, store: Store, batch: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_controlplane.storage.postgres.lease.PATIENCE_SECONDS", 0.3)
    with pytest.raises(DatabaseInUse, match="in use by"):
        database.store().open()
    store.commit(batch(new_runs=[new_run(1)]))
    assert stored(store, 1)[0].seq == 1


def test_a_repeated_commit_is_not_written_twice(store: Store, batch: Batches) -> None:
    tried = batch(new_runs=[new_run(1)], events=[event(1)], lookup_runs=[new_run(1).run_id])
    first = store.commit(tried)
    tried.repeated = True
    again = store.commit(tried)
    assert again == first
    assert again.duplicates == []
    assert len(store.events_of([1])) == 1


def test_a_repeated_commit_still_names_its_duplicates(store: Store, batch: Batches) -> None:
    store.commit(batch(new_runs=[new_run(1)]))
    tried = batch(new_runs=[new_run(2, run_id=new_run(1).run_id), new_run(3)])
    first = store.commit(tried)
    tried.repeated = True
    assert store.commit(tried).duplicates == first.duplicates == [new_run(1).run_id]


def test_a_repeated_commit_that_never_happened_is_written(store: Store, batch: Batches) -> None:
    tried = batch(new_runs=[new_run(1)], events=[event(1)])
    tried.repeated = True
    assert store.commit(tried).duplicates == []
    assert len(store.events_of([1])) == 1
    assert stored(store, 1)[0].seq == 1


def test_maintenance_may_come_at_any_time(store: Store, batch: Batches) -> None:
    store.maintain()
    store.commit(batch(new_runs=[new_run(1)]))
    store.maintain()
    store.commit(batch(new_runs=[new_run(2)]))
    assert None not in stored(store, 1, 2)


def test_a_store_that_could_not_be_opened_keeps_nobody_out(database: Database) -> None:
    engine = writer_engine(parse_url(database.url))

    def note(connection: Connection, revision: str) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})

    with engine.connect() as keeping:  # a database in memory is gone with its last connection
        first = database.store()
        first.open()
        first.close()
        known = keeping.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        note(keeping, "later")
        keeping.commit()
        with pytest.raises(SchemaNotUnderstood):
            database.store().open()
        note(keeping, known)
        keeping.commit()
        assert database.store().open().generation == 2
    engine.dispose()


def test_a_database_of_another_user_is_refused_with_a_clear_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "theirs.db", os.geteuid() + 1
    path.touch()
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(StorageUnavailable, match=r"belongs to another user .*; give this server a database"):
        create_store(f"sqlite:///{path}").open()


def test_a_database_behind_a_link_is_closed_where_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link.db").symlink_to(elsewhere / "runs.db")
    before = os.umask(0)
    try:
        with closing(create_store(f"sqlite:///{tmp_path}/link.db")) as store:
            store.open()
            modes = {path.name: path.stat().st_mode & 0o777 for path in elsewhere.iterdir()}
    finally:
        os.umask(before)
    assert modes == {f"runs.db{end}": 0o600 for end in ("", "-wal", "-shm")}


def test_recovery_finds_a_run_that_was_resumed_below_where_it_began(
    database: Database, store: Store, batch: Batches
) -> None:
    if "?name=" in database.url:
        pytest.skip("a database in memory goes with its owner")
    store.commit(batch(new_runs=[new_run(1), new_run(2)], ended=[ended(1), ended(2)], low_seq=3))
    reopened = (int(RunState.PENDING), 0, 2, None, None, None, None, None, 1)
    store.commit(batch(reopened=[reopened], low_seq=1))
    store.close()
    after = database.store()
    low_seq = after.open().low_seq
    assert [row.seq for row in after.open_runs(low_seq)] == [1]
