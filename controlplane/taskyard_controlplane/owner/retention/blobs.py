"""Removes blobs that nobody refers to, in an order that survives any kill.

    released -> asked -> everything accepted so far is durable -> doomed, if nothing refers to it
             -> the grace is over -> asked once more -> its bytes go -> its row goes

The grace is for those who were told a name and have not opened it yet. What an owner before has doomed is
asked about again like everything else, so there is one way only. `leaving_blobs` says why nothing that
somebody refers to meanwhile is lost.

Orphans, files that no row names, are removed the same way; they have no row to doom, so they are looked for
again once nothing that was accepted can name them any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from taskyard_contract.blobs.names import is_result, is_stored_as
from taskyard_contract.clock import Clock
from taskyard_contract.errors import TaskyardError
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.leaving_blobs import TOLD_SECONDS, LeavingBlobs
from taskyard_controlplane.storage.interface import Store
from taskyard_controlplane.storage.interface.removals import KeptBytes

log = logging.getLogger(__name__)

GRACE_US: Final = 60 * 1_000_000
"""For readers that were told a name and have not opened it yet."""
AT_A_TIME: Final = 200
"""Rows of one transaction."""
COUNTED_AT_A_TIME: Final = 1_000
UNLINKED_AT_A_TIME: Final = 20
"""Removing 20 large files takes up to 50 ms of a thread."""
STEP_SECONDS: Final = 0.002
"""What a step takes of the writer, about."""
LISTED_AT_A_TIME: Final = 1_000
USED_US: Final = round(TOLD_SECONDS * 1_000_000)
"""For so long whoever has stored a blob, or found it stored, may refer to it."""
ORPHAN_US: Final = 24 * 3600 * 1_000_000
"""How old a file must be that no row names: whoever writes one tells of it much sooner."""

Pause = Callable[[float], Awaitable[None]]


class BlobRemoval:
    """Removes blobs of one store, on behalf of the owner."""

    def __init__(self, store: Store, committer: Committer, leaving: LeavingBlobs, clock: Clock) -> None:
        """Remove rows in `store`, as jobs of `committer`; bytes from when on it is known where these are."""
        self._blobs = store.blobs
        self._committer = committer
        self._leaving = leaving
        self._clock = clock
        self.data: BlobStore | None = None
        """Where the bytes are; without it none are removed, and no row of one."""
        self._unsure = True
        """Whether the database may know of doomed blobs that this does not, as at the start."""

    @property
    def waiting(self) -> int:
        """How many blobs wait for their bytes to go."""
        return len(self._leaving.due_us)

    @property
    def free_in_us(self) -> int:
        """After what time the bytes of all that is doomed may go; 0 when there is nothing, or they may
        now.
        """
        return max(0, max(self._leaving.due_us.values(), default=0) - self._clock.now_us())

    async def doom(self, grace_us: int = GRACE_US) -> int:
        """Doom some of those that lost a reference, if they have none; returns how many were looked at."""
        if self._unsure:
            # Of what an owner before has doomed nobody here knows who was told that it is there.
            await self._ask(await self._committer.run(self._blobs.doomed), max(grace_us, USED_US))
        taken_back = list(self._leaving.taken_back)
        self._leaving.taken_back.clear()
        names = taken_back + await self._committer.run(lambda: self._blobs.released(AT_A_TIME))
        await self._ask(names, grace_us)
        return len(names)

    async def _ask(self, names: Sequence[str], grace_us: int) -> None:
        """Doom what nothing refers to."""
        leaving = self._leaving
        leaving.asked.update(name for name in names if name not in leaving.due_us)
        try:
            if leaving.asked:
                await self._committer.durable()
                self._unsure = True  # until there is an answer
                due_us, asked = self._clock.now_us() + grace_us, list(leaving.asked)
                doomed = await self._committer.run(lambda: self._blobs.doom(asked, due_us))
                leaving.due_us |= {name: due_us for name in doomed if name in leaving.asked}
            self._unsure = False
        finally:
            leaving.asked.clear()

    async def remove(self, *, at_once: bool = False) -> int:
        """Remove the bytes of some doomed blobs, and then their rows; returns how many went.

        Args:
            at_once: Nobody is there who could read one, or has stored one lately: do not wait.
        """
        now_us, leaving, data = self._clock.now_us(), self._leaving, self.data
        if data is None:
            return 0
        due = (name for name, due_us in leaving.due_us.items() if at_once or due_us <= now_us)
        names = list(islice(filter(leaving.may_go, due), UNLINKED_AT_A_TIME))
        if not names:
            return 0
        leaving.begin_removing(names)
        gone: list[str] = []
        try:
            # Asked once more: a mistake here would cost somebody his values.
            unused = await self._committer.run(lambda: self._blobs.doom(names, now_us))
            # What a run returned is stored once, by itself; content may be stored again at any time.
            used_us = {name: 0 if at_once or is_result(name) else USED_US for name in unused}
            gone = await self._unlinked(data, used_us)
            await self._committer.run(lambda: self._blobs.remove_blobs(gone))
        finally:
            leaving.end_removing(names)
            leaving.taken_back.update(set(names).difference(gone))
        return len(gone)

    async def kept_bytes(self, pause: Pause) -> list[KeptBytes]:
        """Return how much blobs take, by what refers to them."""
        found: dict[int, KeptBytes] = {}
        after: str | None = ""
        while after is not None:
            part, after = await self._committer.run(
                lambda: self._blobs.kept_bytes(after, COUNTED_AT_A_TIME)  # noqa: B023
            )
            for kind, blobs, size in part:
                before = found.get(kind, KeptBytes(kind, 0, 0))
                found[kind] = KeptBytes(kind, before.blobs + blobs, before.size + size)
            await pause(STEP_SECONDS if after is not None else 0.0)
        return [found[kind] for kind in sorted(found)]

    async def sweep(self, pause: Pause) -> None:
        """Look through all references and blobs for those that a crash, or a refusal, has left over."""
        after: object = None
        while True:
            swept = await self._committer.run(lambda: self._blobs.sweep_refs(after, AT_A_TIME))  # noqa: B023
            after = swept.last
            if after is None:
                break
            await pause(STEP_SECONDS)
        before_us = self._clock.now_us() - ORPHAN_US
        while True:
            swept = await self._committer.run(
                lambda: self._blobs.sweep_blobs(after, before_us, AT_A_TIME)  # noqa: B023
            )
            after = swept.last
            if after is None:
                return
            await pause(STEP_SECONDS)

    async def remove_orphans(self, pause: Pause) -> int:
        """Remove old files that no row names; returns how many there were."""
        data = self.data
        if data is None:
            return 0
        removed = 0
        try:
            listing = iter(data.list())
            while files := await asyncio.to_thread(lambda: list(islice(listing, LISTED_AT_A_TIME))):
                before_us = await asyncio.to_thread(data.now_us) - ORPHAN_US
                old = [name for name, _, at_us in files if at_us < before_us and is_stored_as(name)]
                removed += await self._remove_unknown(data, old)
                await pause(STEP_SECONDS)
        except TaskyardError as error:
            log.warning("the blob store %s cannot be looked through: %s", data.url, error)
        return removed

    async def _remove_unknown(self, data: BlobStore, names: Sequence[str]) -> int:
        unknown = await self._committer.run(lambda: self._blobs.orphans(names)) if names else []
        removed = 0
        for start in range(0, len(unknown), UNLINKED_AT_A_TIME):
            part = list(filter(self._leaving.may_go, unknown[start : start + UNLINKED_AT_A_TIME]))
            self._leaving.begin_removing(part)
            try:
                await self._committer.durable()
                still = await self._committer.run(lambda: self._blobs.orphans(part))  # noqa: B023
                removed += len(await self._unlinked(data, dict.fromkeys(still, ORPHAN_US)))
            finally:
                self._leaving.end_removing(part)
        return removed

    async def _unlinked(self, data: BlobStore, names: Mapping[str, int]) -> list[str]:
        """Remove bytes, but not of what was stored within a time, which `names` say in microseconds; returns
        the names of those that have none now.
        """

        def unlink() -> list[str]:
            now_us = data.now_us() if any(names.values()) else 0
            return [
                name
                for name, used_us in names.items()
                if data.remove_unused(name, now_us - used_us if used_us else None)
            ]

        try:
            return await asyncio.to_thread(unlink)
        except TaskyardError as error:
            log.warning("blobs in %s cannot be removed, it is tried again: %s", data.url, error)
            return []
