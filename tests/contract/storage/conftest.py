"""The three databases every test of the contract runs against."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import func, select, update
from support.postgres import PostgresServer
from support.storage_rows import Batches

from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.interface import Reader, Store
from taskyard_controlplane.storage.schema import metadata, shard_owner

_names = itertools.count(1)


class Database:
    """One database; everything opened on it is closed with the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds = 0.0
        """How far the stores' clock is ahead."""
        self._opened: list[Store | Reader] = []

    def store(self) -> Store:
        """Make a store that is not open yet."""
        store = create_store(self.url, lambda: monotonic() + self.seconds)
        self._opened.append(store)
        return store

    def reader(self) -> Reader:
        reader = create_reader(self.url)
        self._opened.append(reader)
        return reader

    def replace_owner(self) -> None:
        """Do what another owner's takeover does to the one of before."""
        engine = writer_engine(parse_url(self.url))
        with engine.begin() as connection:
            connection.execute(update(shard_owner).values(generation=shard_owner.c.generation + 1))
        engine.dispose()

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        engine = writer_engine(parse_url(self.url))
        with engine.begin() as connection:
            rows = connection.execute(select(func.count()).select_from(metadata.tables[table])).scalar_one()
        engine.dispose()
        return rows

    def close(self) -> None:
        for thing in reversed(self._opened):
            thing.close()


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
