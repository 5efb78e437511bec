"""Removes entries of the cache, between two commits of the log.

Entries are looked up by commits and nowhere else, so nothing in memory has to be told: a key that was cleared
is a miss from the next commit on. Who computes a key at that moment goes on, with those that wait for it; its
result becomes a new entry.
"""

from functools import partial
from typing import Final

from taskyard_controlplane.domain.cache_keys import storable
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.storage.interface import Store

PART: Final = 1_000
"""Entries that are looked at in one transaction: a few milliseconds in which nothing is committed."""


class CacheClearing:
    """Removes entries on behalf of people."""

    def __init__(self, store: Store, committer: Committer) -> None:
        """Remove entries in `store`, as jobs of `committer`."""
        self._store = store
        self._committer = committer

    async def key(self, cache_key: str) -> int:
        """Remove the entry of a key; returns how many there were, once that is durable.

        Raises:
            TaskyardError: The database does not answer, has no room, or is lost.
        """
        cache, stored = self._store.cache, storable(cache_key)
        return await self._committer.run(lambda: cache.remove(stored))

    async def ended_before(self, at_us: int | None) -> int:
        """Remove entries of runs that ended before some time, or all; returns how many, once that is durable.

        Raises:
            TaskyardError: As for `key`; some may have been removed.
        """
        removed, after = 0, ""
        while True:
            part = await self._committer.run(partial(self._store.cache.remove_part, after, at_us, PART))
            removed += part.removed
            if part.last_key is None:
                return removed
            after = part.last_key
