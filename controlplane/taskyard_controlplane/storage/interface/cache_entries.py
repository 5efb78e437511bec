"""The cache as people see it: which keys have a result, of which run, and until when it is used.

Entries are written by commits, with the end of the run that computed the result. Everybody may read them; the
owner alone removes them, between two commits, in transactions that check its generation like any commit. They
are removed part by part, so that a million of them holds up nobody.
"""

from typing import NamedTuple, Protocol

from taskyard_controlplane.storage.interface.results import ListedRun


class StoredEntry(NamedTuple):
    """One entry, with the run that computed its result."""

    cache_key: str
    expires_us: int | None
    listed: ListedRun


class EntryPage(NamedTuple):
    """Entries in the order of their keys, whatever order the database has for text."""

    entries: list[StoredEntry]
    last_key: str | None
    """Beyond which the next page begins; None at the end. Entries whose run is gone are passed over."""


class ClearedPart(NamedTuple):
    """What was removed among the next entries."""

    removed: int
    last_key: str | None
    """Beyond which there may be more; None at the end."""


class CacheReader(Protocol):
    """Reads entries. Every method blocks, and may raise `StorageUnavailable`."""

    def get(self, cache_key: str) -> StoredEntry | None:
        """Return the entry of a key, None when there is none."""
        ...

    def page(self, after: str, limit: int) -> EntryPage:
        """Return the next `limit` entries whose keys come behind `after`."""
        ...


class CacheEntries(Protocol):
    """Removes entries as the owner. Like a `Store`: not thread-safe, and raises what a store raises."""

    def remove(self, cache_key: str) -> int:
        """Remove the entry of a key; returns how many there were."""
        ...

    def remove_part(self, after: str, ended_before_us: int | None, limit: int) -> ClearedPart:
        """Remove those of the next entries whose run ended before some time, or is gone.

        Args:
            after: The last key of the part before; "" for the first part.
            ended_before_us: The time; None for any.
            limit: How many are looked at.
        """
        ...
