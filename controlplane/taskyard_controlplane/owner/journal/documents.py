"""Changes of cold documents, between two commits of the log.

They are no part of a commit: nobody waits for them who waits for runs, and a document that cannot be
written must not hold up what can. They are jobs of the committer, so that the store is used by one thread
at a time, and each checks in its own transaction that this is still the owner. Whoever decides by a
document keeps it in memory, and takes it over from what `put` returns: then it is durable.
"""

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.storage.interface import Document, Store


class Documents:
    """The documents of a shard's database, changed on behalf of the owner."""

    def __init__(self, store: Store, committer: Committer, clock: Clock) -> None:
        """Change documents in `store`, as jobs of `committer`."""
        self._store = store
        self._committer = committer
        self._clock = clock

    async def put(self, kind: str, name: str, version: int, body: bytes) -> Document:
        """Store a document if the one there has this version (`NEW`: there is none), and return it as stored.

        Raises:
            VersionConflict: It has another version.
            InvalidRequest: The name or the body cannot be stored.
            StorageUnavailable: The database does not answer; read the document before changing it again.
            TaskyardError: It has no room, or this process lost it.
        """
        documents, now_us = self._store.documents, self._clock.now_us()
        return await self._committer.run(lambda: documents.put(kind, name, version, body, now_us))

    async def delete(self, kind: str, name: str, version: int) -> None:
        """Delete a document if it has this version; one that does not exist is as good as deleted.

        Raises:
            VersionConflict: It has another version.
            TaskyardError: As for `put`.
        """
        documents = self._store.documents
        await self._committer.run(lambda: documents.delete(kind, name, version))
