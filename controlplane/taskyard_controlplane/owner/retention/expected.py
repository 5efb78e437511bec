"""What removing some runs would remove, for people who ask before they do it."""

from collections import Counter
from collections.abc import Sequence

from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.retention.runs import Removed
from taskyard_controlplane.storage.interface import Store


class Expected:
    """Adds up what would go. It holds a name for each blob that might."""

    def __init__(self, store: Store, committer: Committer) -> None:
        """Look in `store`, with jobs of `committer`."""
        self._store = store
        self._committer = committer
        self._removed = Removed()
        self._refs: Counter[str] = Counter()

    async def take(self, seqs: Sequence[int]) -> None:
        """Add what is about some runs."""
        found = await self._committer.run(lambda: self._store.removals.about(seqs))
        self._removed.runs += found.runs
        self._removed.events += found.events
        self._removed.logs += found.logs
        self._refs.update(found.names)

    async def all(self) -> Removed:
        """Return what would be removed: of blobs those that only these runs refer to."""
        names = list(self._refs)
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            sizes = await self._committer.run(lambda: self._store.blobs.referred(part))  # noqa: B023
            for name, (size, refs) in sizes.items():
                if refs <= self._refs[name]:
                    self._removed.blobs += 1
                    self._removed.blob_bytes += size
        return self._removed

    async def expired(self, now_us: int) -> int:
        """Return how many cache entries have expired."""
        return await self._committer.run(lambda: self._store.removals.expired(now_us))
