"""Keeps what a home takes below a bound: the oldest logs go before their time, then runs, cached values last.

What runs free is estimated, step by step, from the sizes of the blobs they refer to; when enough should be
free, it is looked whether it is. So no more goes than has to.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.retention.blobs import BlobRemoval, Pause
from taskyard_controlplane.owner.retention.logs import LogRemoval
from taskyard_controlplane.owner.retention.policy import DAY_US, Policy
from taskyard_controlplane.owner.retention.runs import Removed, RunRemoval
from taskyard_controlplane.storage.interface import Store

RUN_BYTES: Final = 400
"""What the rows of a run take at least."""
ENTRY_AGES_US: Final = (30 * DAY_US, 7 * DAY_US, DAY_US, 0)
"""Of cache entries those go first whose runs ended so long ago."""
ENTRY_STEP: Final = 500


class HomeRoom:
    """Makes room."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        clock: Clock,
        runs: RunRemoval,
        blobs: BlobRemoval,
        logs: LogRemoval,
        pause: Pause,
    ) -> None:
        """Make it in `store`, and in those of blobs and logs; `pause` between steps."""
        self._logs = logs
        self._pause = pause
        self._store = store
        self._committer = committer
        self._clock = clock
        self._runs = runs
        self._blobs = blobs
        self._excess = 0
        """How much has to go, about."""

    async def reduce(self, policy: Policy, removed: Removed) -> None:
        """Remove what is over, however young it is, until the bound of a policy holds."""
        if not policy.home_bytes or not await self._is_too_full(policy):
            return

        self._excess -= await self._logs.oldest(self._excess, removed)
        if self._excess <= 0:
            return

        async def enough() -> bool:
            return self._excess <= 0 and not await self._is_too_full(policy)

        at_any_age = replace(policy, runs_us=0, states_us={})
        await self._runs.runs(at_any_age, removed, choose=self._first, enough=enough)
        for age_us in ENTRY_AGES_US:
            if not await self._is_too_full(policy):
                return
            removed.cache_entries += await self._entries(self._clock.now_us() - age_us)

    async def _first(self, seqs: Sequence[int]) -> list[int]:
        """Return as many of some runs as should be enough, the first ones."""
        sizes = await self._committer.run(lambda: self._store.blobs.sizes_of(seqs))
        chosen = []
        for seq in seqs:
            if self._excess <= 0:
                break
            chosen.append(seq)
            self._excess -= RUN_BYTES + sizes.get(seq, 0)
        return chosen

    async def _entries(self, ended_before_us: int) -> int:
        removed, after = 0, ""
        while True:
            part = await self._committer.run(
                lambda: self._store.cache.remove_part(after, ended_before_us, ENTRY_STEP)  # noqa: B023
            )
            removed += part.removed
            if part.last_key is None:
                return removed
            after = part.last_key

    async def _is_too_full(self, policy: Policy) -> bool:
        """Whether the bound does not hold, if everything goes of which it is known by now."""
        while await self._blobs.doom():
            pass
        # PostgreSQL's does not shrink when rows go: all of them would have to, and win nothing.
        counts = self._store.dialect == "sqlite"
        used = await self._committer.run(self._store.used_bytes) if counts else 0
        kept = await self._blobs.kept_bytes(self._pause)
        used += await self._logs.size() if counts else 0
        self._excess = used + sum(part.size for part in kept if part.kind) - policy.home_bytes
        return self._excess > 0
