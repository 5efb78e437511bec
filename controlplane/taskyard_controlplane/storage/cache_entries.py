"""Removes entries of the cache, the same SQL for both databases: nobody waits for it who waits for runs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from sqlalchemy import Connection, func, select

from taskyard_controlplane.storage.interface.cache_entries import ClearedPart
from taskyard_controlplane.storage.retention.references import remove_entries
from taskyard_controlplane.storage.schema import cache_entry, run

MOST_KEYS: Final = 500
"""In one statement; SQLite takes 32,766 values, and plans few of them better."""


class OwnedCacheEntries:
    """`CacheEntries`, in transactions that have checked that this is still the owner."""

    def __init__(self, owning: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Write in the transactions of `owning`."""
        self._owning = owning

    def remove(self, cache_key: str) -> int:
        if "\x00" in cache_key:
            return 0  # PostgreSQL cannot store NUL
        with self._owning() as connection:
            return _removed(connection, [cache_key])

    def remove_part(self, after: str, ended_before_us: int | None, limit: int) -> ClearedPart:
        query = (
            select(cache_entry.c.cache_key, func.coalesce(run.c.ended_us, cache_entry.c.ended_us))
            .outerjoin(run, run.c.seq == cache_entry.c.run_seq)
            .where(cache_entry.c.cache_key > after)
            .order_by(cache_entry.c.cache_key)
            .limit(limit)
        )
        with self._owning() as connection:
            rows = connection.execute(query).all()
            keys = [
                key
                for key, ended_us in rows
                if ended_before_us is None or ended_us is None or ended_us < ended_before_us
            ]
            removed = _removed(connection, keys)
        return ClearedPart(removed, rows[-1][0] if len(rows) == limit else None)


def _removed(connection: Connection, keys: Sequence[str]) -> int:
    parts = [keys[start : start + MOST_KEYS] for start in range(0, len(keys), MOST_KEYS)]
    return sum(remove_entries(connection, part) for part in parts)
