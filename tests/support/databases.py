"""A database of any kind, looked at from beside the store as well."""

from time import monotonic

from sqlalchemy import func, select, update

from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.interface import Reader, Store
from taskyard_controlplane.storage.schema import metadata, shard_owner


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
