"""The three databases every test of the contract runs against."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from support.databases import Database
from support.failing_properties import bound_shrinking
from support.log_rows import at
from support.postgres import PostgresServer
from support.storage_rows import Batches, new_run, template

from taskyard_contract.states import RunKind
from taskyard_controlplane.storage.interface import LogStore, Reader, Store

bound_shrinking()
_names = itertools.count(1)


@pytest.fixture(autouse=True)
def connections() -> Iterator[list[Any]]:
    """The drivers' connections that are made during a test, the newest last."""
    made: list[Any] = []

    def note(connection: Any, _record: object) -> None:
        made.append(connection)

    event.listen(Engine, "connect", note)
    yield made
    event.remove(Engine, "connect", note)


@pytest.fixture(params=["sqlite_memory", "sqlite_file", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of each kind."""
    opened = Database(request.getfixturevalue(f"{request.param}_url"))
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    """An open store on an empty database."""
    store = database.store()
    store.open()
    return store


@pytest.fixture
def batch() -> Batches:
    """Makes batches, numbered."""
    return Batches()


@pytest.fixture
def sqlite_memory_url() -> str:
    return f"sqlite://?name=test{next(_names)}"


@pytest.fixture
def sqlite_file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/taskyard.db"


@pytest.fixture
def postgresql_url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def log_owner(database: Database, batch: Batches) -> Iterator[Store]:
    """A store that is open with its log store, with a flow run, 1, and runs inside it, 2 and 3."""
    store = database.store()
    store.logs.open(store.open().generation, at(0))
    runs = [new_run(1, kind=RunKind.FLOW), new_run(2, flow_seq=1), new_run(3, flow_seq=1)]
    store.commit(batch(templates=[template()], new_runs=runs))
    yield store
    store.logs.close()


@pytest.fixture
def logs(log_owner: Store) -> LogStore:
    return log_owner.logs


@pytest.fixture
def log_reader(database: Database, log_owner: Store) -> Reader:
    return database.reader()
