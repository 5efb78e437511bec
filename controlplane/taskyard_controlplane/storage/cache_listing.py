"""Lists entries of the cache with the runs that computed their results."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Connection, Select, select

from taskyard_controlplane.storage.interface.cache_entries import EntryPage, StoredEntry
from taskyard_controlplane.storage.listings import listed_by_number
from taskyard_controlplane.storage.schema import cache_entry

_COLUMNS: Final = (cache_entry.c.cache_key, cache_entry.c.run_seq, cache_entry.c.expires_us)


class StoredCacheEntries:
    """`CacheReader` on either database."""

    def __init__(self, reading: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Read through the connections of `reading`."""
        self._reading = reading

    def get(self, cache_key: str) -> StoredEntry | None:
        if "\x00" in cache_key:
            return None  # PostgreSQL cannot store NUL
        with self._reading() as connection:
            found = _entries(connection, select(*_COLUMNS).where(cache_entry.c.cache_key == cache_key))
        return found[1][0] if found[1] else None

    def page(self, after: str, limit: int) -> EntryPage:
        query = select(*_COLUMNS).where(cache_entry.c.cache_key > after).order_by(cache_entry.c.cache_key)
        with self._reading() as connection:
            rows, entries = _entries(connection, query.limit(limit))
        return EntryPage(entries, rows[-1][0] if len(rows) == limit else None)


def _entries(connection: Connection, query: Select[Any]) -> tuple[Sequence[Any], list[StoredEntry]]:
    """Return the rows that were found, and what is told of those whose runs there are."""
    rows = connection.execute(query).all()
    runs = listed_by_number(connection, [seq for _, seq, _ in rows])
    return rows, [StoredEntry(key, expires_us, runs[seq]) for key, seq, expires_us in rows if seq in runs]
