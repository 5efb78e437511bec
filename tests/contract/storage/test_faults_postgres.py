"""What a PostgreSQL store does when connections die, at the worst moments too, and when leases run out."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url
from support.postgres import PostgresServer
from support.postgres_proxy import Fault, PostgresProxy
from support.storage_rows import Batches, ended, event, new_run, stored

from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_controlplane.storage import create_store
from taskyard_controlplane.storage.engine import parse_url
from taskyard_controlplane.storage.errors import DatabaseInUse
from taskyard_controlplane.storage.faults import translate
from taskyard_controlplane.storage.postgres import lease
from taskyard_controlplane.storage.postgres.store import PostgresStore

OPEN_AND_WAIT = """
import sys
from taskyard_controlplane.storage import create_store
store = create_store(sys.argv[1])
store.open()
print("open", flush=True)
sys.stdin.read()
"""
LARGE = 500
"""A batch of so many new runs goes through COPY."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(postgresql_url: str, clock: Clock) -> Iterator[PostgresStore]:
    store = PostgresStore(parse_url(postgresql_url), clock)
    store.open()
    yield store
    store.close()


@pytest.fixture
def admin(postgres: PostgresServer, postgresql_url: str) -> Iterator[psycopg.Connection]:
    with postgres.connect(str(make_url(postgresql_url).database)) as connection:
        yield connection


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[PostgresProxy]:
    proxy = PostgresProxy(postgres.socket_directory)
    yield proxy
    proxy.close()


def _backend(connections: list[Any]) -> int:
    """Return the server process of the store's own connection, which is the newest."""
    return int(connections[-1].info.backend_pid)


@pytest.mark.parametrize("count", [1, LARGE])
@pytest.mark.parametrize("fault", ["lose_commit", "lose_answer"])
def test_an_ambiguous_commit_happens_once(
    postgresql_url: str, proxy: PostgresProxy, batch: Batches, fault: Fault, count: int
) -> None:
    with closing(create_store(proxy.url(str(make_url(postgresql_url).database)))) as store:
        store.open()
        runs = [new_run(seq) for seq in range(1, count + 1)]
        tried = batch(new_runs=runs, events=[event(1)], lookup_runs=[runs[0].run_id])
        proxy.fault = fault
        with pytest.raises(StorageUnavailable):
            store.commit(tried)
        proxy.fault = ""
        tried.repeated = True
        result = store.commit(tried)
        assert [row.run_id for row in result.runs] == [runs[0].run_id]
        assert result.duplicates == []
        assert len(store.events_of([1])) == 1
        assert stored(store, count)[0].seq == count


def test_a_connection_ended_during_a_commit_is_replaced(
    store: PostgresStore, admin: psycopg.Connection, batch: Batches, connections: list[Any]
) -> None:
    tried = batch(new_runs=[new_run(1)], events=[event(1)])
    with ThreadPoolExecutor(1) as pool, admin.transaction():
        admin.execute("SELECT FROM shard_owner FOR UPDATE")
        committing = pool.submit(store.commit, tried)
        _wait_until_blocked(admin, _backend(connections))
        admin.execute("SELECT pg_terminate_backend(%s)", (_backend(connections),))
        with pytest.raises(StorageUnavailable, match="does not answer"):
            committing.result(10)
    tried.repeated = True
    store.commit(tried)
    assert len(store.events_of([1])) == 1


def _wait_until_blocked(admin: psycopg.Connection, pid: int) -> None:
    deadline = time.monotonic() + 10
    query = "SELECT cardinality(pg_blocking_pids(%s))"
    while not admin.execute(query, (pid,)).fetchone()[0]:  # type: ignore[index]
        assert time.monotonic() < deadline


def test_an_idle_connection_that_died_is_replaced(
    store: PostgresStore, admin: psycopg.Connection, batch: Batches, connections: list[Any]
) -> None:
    admin.execute("SELECT pg_terminate_backend(%s)", (_backend(connections),))
    with pytest.raises(StorageUnavailable) as caught:
        store.commit(batch(new_runs=[new_run(1)]))
    assert caught.value.retry_after > 0
    store.commit(batch(new_runs=[new_run(1)]))
    assert stored(store, 1)[0].seq == 1
    noted = admin.execute("SELECT backend_pid FROM shard_owner").fetchone()
    assert noted == (_backend(connections),), "the next owner must look for the new server process"


def test_a_replaced_owner_that_reconnects_is_fenced(
    store: PostgresStore, admin: psycopg.Connection, batch: Batches, connections: list[Any]
) -> None:
    admin.execute("UPDATE shard_owner SET generation = generation + 1")
    admin.execute("SELECT pg_terminate_backend(%s)", (_backend(connections),))
    tried = batch(new_runs=[new_run(1)])
    with pytest.raises(StorageUnavailable):
        store.commit(tried)
    tried.repeated = True
    with pytest.raises(NotOwner):
        store.commit(tried)


def test_an_owner_stopped_inside_a_transaction_is_thrown_out(
    store: PostgresStore,
    postgresql_url: str,
    admin: psycopg.Connection,
    batch: Batches,
    connections: list[Any],
) -> None:
    """Its row is locked and its lease has run out: the next owner ends its server process."""
    connection = connections[-1]
    connection.execute("BEGIN")
    connection.execute(lease.CLAIM, (1, 1, None))
    admin.execute("SET lock_timeout = '100ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        admin.execute("UPDATE shard_owner SET expires_us = 0")
    connection.execute("ROLLBACK")
    admin.execute("UPDATE shard_owner SET expires_us = 0")
    connection.execute("BEGIN")
    connection.execute(lease.CLAIM, (1, 1, None))
    with closing(create_store(postgresql_url)) as second:
        assert second.open().generation == 2
        with pytest.raises(StorageUnavailable):
            store.commit(batch(new_runs=[new_run(1)]))
        with pytest.raises(NotOwner):
            store.commit(batch(new_runs=[new_run(1)]))


def test_an_owner_that_renews_its_lease_is_not_waited_for(
    store: PostgresStore, postgresql_url: str, clock: Clock
) -> None:
    waits = []

    def renew(seconds: float) -> None:
        waits.append(seconds)
        clock.now += lease.RENEW_SECONDS
        store.maintain()

    second = PostgresStore(parse_url(postgresql_url), clock, renew)
    with closing(second), pytest.raises(DatabaseInUse, match="server process"):
        second.open()
    assert len(waits) == 1


def test_commits_renew_the_lease(
    store: PostgresStore, admin: psycopg.Connection, clock: Clock, batch: Batches
) -> None:
    query = "SELECT expires_us FROM shard_owner"
    first = admin.execute(query).fetchone()
    store.commit(batch(new_runs=[new_run(1)]))
    assert admin.execute(query).fetchone() == first, "not with every commit"
    clock.now += lease.RENEW_SECONDS
    store.commit(batch(new_runs=[new_run(2)]))
    assert admin.execute(query).fetchone() > first  # type: ignore[operator]


def test_a_lease_that_nobody_renews_is_waited_for(
    store: PostgresStore, postgresql_url: str, admin: psycopg.Connection
) -> None:
    """The owner hangs with its connection open, so only its lease can tell."""
    with closing(PostgresStore(parse_url(postgresql_url), wait=lambda _: _expire(admin))) as second:
        assert second.open().generation == 2


def _expire(admin: psycopg.Connection) -> None:
    admin.execute("UPDATE shard_owner SET expires_us = 0")


def test_a_killed_owner_is_replaced_at_once(postgresql_url: str) -> None:
    command = [sys.executable, "-c", OPEN_AND_WAIT, postgresql_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        first.send_signal(signal.SIGKILL)
    started = time.monotonic()
    with closing(create_store(postgresql_url)) as store:
        assert store.open().generation == 2
    assert time.monotonic() - started < lease.LEASE_SECONDS / 2


def test_a_closed_store_leaves_no_lease_behind(store: PostgresStore, postgresql_url: str) -> None:
    store.close()
    with closing(PostgresStore(parse_url(postgresql_url), wait=_must_not_wait)) as second:
        assert second.open().generation == 2


def _must_not_wait(_seconds: float) -> None:
    raise AssertionError("it waited")


def test_two_first_starts_at_the_same_time_make_one_owner(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find no tables; one creates them, one owns them, the other is told so."""
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.5)
    with postgres.database(empty=True) as url, ThreadPoolExecutor(2) as pool:
        stores = [PostgresStore(parse_url(url), wait=_short_wait) for _ in range(2)]
        barrier = threading.Barrier(2)

        def start(store: PostgresStore) -> bool:
            barrier.wait(10)
            try:
                store.open()
            except DatabaseInUse:
                return False
            return True

        outcomes = list(pool.map(start, stores))
        for store in stores:
            store.close()
    assert sorted(outcomes) == [False, True]


def _short_wait(_seconds: float) -> None:
    time.sleep(0.02)


def test_a_server_that_is_not_there_is_unavailable_and_its_password_stays_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = create_store("postgresql://user:secret@127.0.0.1:1/taskyard")
    with pytest.raises(StorageUnavailable, match="does not answer") as caught:
        store.open()
    assert "secret" not in f"{caught.value} {caplog.text}"
    assert "127.0.0.1" not in str(caught.value)
    assert "127.0.0.1" in caplog.text


def test_a_full_disk_of_the_server_is_a_full_storage() -> None:
    assert isinstance(
        translate(psycopg.errors.DiskFull("could not extend file"), parse_url("postgresql://h/d")),
        StorageFull,
    )


def test_a_server_that_became_a_standby_is_unavailable() -> None:
    error = psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction")
    assert isinstance(translate(error, parse_url("postgresql://h/d")), StorageUnavailable)


def test_pages_have_room_for_the_second_version_of_their_runs(
    store: PostgresStore, admin: psycopg.Connection, batch: Batches, connections: list[Any]
) -> None:
    for start in range(1, 4001, LARGE):
        seqs = range(start, start + LARGE)
        store.commit(batch(new_runs=[new_run(seq) for seq in seqs], ended=[ended(seq) for seq in seqs]))
    admin.execute("SELECT pg_stat_force_next_flush()")
    connections[-1].execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'run'"
    updated, in_place = admin.execute(query).fetchone() or (0, 0)
    assert updated == 4000
    assert in_place >= 0.95 * updated
