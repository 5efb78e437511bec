"""The log store on PostgreSQL: a partition for each day, which comes and goes in nobody's way."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.databases import Database
from support.log_rows import TODAY, at, ids, record

from taskyard_contract.errors import NotOwner, StorageUnavailable
from taskyard_controlplane.storage.engine import parse_url, raw, writer_engine
from taskyard_controlplane.storage.interface import DAY_US, LogStore, Reader, Store
from taskyard_controlplane.storage.postgres.logs import PostgresLogStore, partition_of

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def on_postgres(database: Database) -> Iterator[Any]:
    """Another connection to the database."""
    engine = writer_engine(parse_url(database.url))
    with engine.connect() as connection:
        yield raw(connection)
    engine.dispose()


def test_tomorrow_has_a_partition_today(on_postgres: Any, logs: LogStore) -> None:
    names = on_postgres.execute("SELECT relname FROM pg_class WHERE relname LIKE 'log_record_2%%'").fetchall()
    assert {(partition_of(TODAY),), (partition_of(TODAY + 1),)} <= set(names)


def test_who_was_replaced_appends_nothing(
    on_postgres: Any, database: Database, logs: LogStore, log_reader: Reader
) -> None:
    database.replace_owner()
    with pytest.raises(NotOwner):
        logs.append([record(at(0))], {}, at(0))
    assert ids(log_reader) == []


def test_a_partition_that_somebody_reads_is_left_to_the_next_time(
    on_postgres: Any, database: Database, log_owner: Store, log_reader: Reader
) -> None:
    waits: list[float] = []
    logs = PostgresLogStore(parse_url(database.url), waits.append)
    logs.maintain(at(1))
    log_owner.logs.append([record(at(0))], {}, at(0))
    log_owner.logs.append([record(at(1))], {}, at(1))
    on_postgres.execute("BEGIN")
    on_postgres.execute(f"SELECT count(*) FROM {partition_of(TODAY)}")
    assert logs.remove_before(at(1)) == []
    assert len(waits) == 5
    assert ids(log_reader) == [at(0), at(1)]
    on_postgres.execute("COMMIT")
    assert [one.begins_us for one in logs.remove_before(at(1))] == [TODAY * DAY_US]
    assert ids(log_reader) == [at(1)]
    logs.close()


def test_a_partition_that_is_missing_is_made(on_postgres: Any, logs: LogStore, log_reader: Reader) -> None:
    on_postgres.execute(f"DROP TABLE {partition_of(TODAY)}")
    with pytest.raises(StorageUnavailable):
        logs.append([record(at(0))], {}, at(0))
    logs.append([record(at(0))], {}, at(0))
    logs.append([record(at(5))], {}, at(5))
    assert ids(log_reader) == [at(0), at(5)]


def test_a_connection_that_breaks_is_made_anew(on_postgres: Any, logs: LogStore, log_reader: Reader) -> None:
    logs.append([record(at(0))], {}, at(0))
    on_postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    with pytest.raises(StorageUnavailable):
        logs.append([record(at(0, 1))], {}, at(0))
    logs.append([record(at(0, 1))], {}, at(0))
    assert ids(log_reader) == [at(0), at(0, 1)]
