"""Keeps what a home takes below a bound: the oldest logs go before their time, then runs, cached values last.

What runs free is estimated, step by step, from the sizes of the blobs they refer to; when enough should be
free, it is looked whether it is. So no more goes than has to.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.retention.blobs import BlobRemoval
from taskyard_controlplane.owner.retention.logs import LogRemoval
from taskyard_controlplane.owner.retention.pace import Pace
from taskyard_controlplane.owner.retention.policy import DAY_US, Policy
from taskyard_controlplane.owner.retention.runs import Removed, RunRemoval
from taskyard_controlplane.storage.interface import Store
from taskyard_controlplane.storage.interface.removals import OldRun

RUN_BYTES: Final = 400
"""What the rows of a run take at least."""
ENTRY_AGES_US: Final = (30 * DAY_US, 7 * DAY_US, DAY_US, 0)
"""Of cache entries those go first whose runs ended so long ago."""
ENTRY_STEP: Final = 500
GROWTH: Final = 0.05
"""After so much of the bound has come it is looked whether that still holds."""


class HomeRoom:
    """Makes room."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        clock: Clock,
        runs: RunRemoval,
        blobs: BlobRemoval,
        logs: LogRemoval,
        pace: Pace,
    ) -> None:
        """Make it in `store`, and in those of blobs and logs; `journal` knows how much comes."""
        self._logs = logs
        self._pace = pace
        self._journal = journal
        self._store = store
        self._committer = committer
        self._clock = clock
        self._runs = runs
        self._blobs = blobs
        self._excess = 0
        """How much has to go, about."""
        self._rows_before: int | None = None
        self._blobs_before = 0
        """What there was when it was looked at last."""

    async def is_to_be_looked_at(self, policy: Policy) -> bool:
        """Whether so much has come since the last time that the bound of a policy may not hold any more."""
        if not policy.home_bytes or self._rows_before is None:
            return False
        came = await self._row_bytes() - self._rows_before + self._journal.named_bytes - self._blobs_before
        return came >= GROWTH * policy.home_bytes

    async def reduce(self, policy: Policy, removed: Removed) -> None:
        """Remove what is over, however young it is, until the bound of a policy holds."""
        if policy.home_bytes:
            self._blobs_before = self._journal.named_bytes
            await self._reduce(policy, removed)
            self._rows_before = await self._row_bytes()

    async def _reduce(self, policy: Policy, removed: Removed) -> None:
        if not await self._is_too_full(policy):
            return
        self._excess -= await self._logs.oldest(self._excess, removed)
        if self._excess <= 0:
            return

        async def enough() -> bool:
            return self._excess <= 0 and not await self._is_too_full(policy)

        def behind(_: OldRun) -> float:
            return self._excess / (GROWTH * policy.home_bytes)

        at_any_age = replace(policy, runs_us=0, states_us={})
        await self._runs.runs(at_any_age, removed, choose=self._first, enough=enough, behind=behind)
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
        used = await self._row_bytes()
        kept = await self._blobs.kept_bytes(self._pace.pause)
        used += await self._logs.size() if self._rows_count else 0
        self._excess = used + sum(part.size for part in kept if part.kind) - policy.home_bytes
        return self._excess > 0

    @property
    def _rows_count(self) -> bool:
        """PostgreSQL's do not: it does not shrink when rows go, so all would have to, and win nothing."""
        return self._store.dialect == "sqlite"

    async def _row_bytes(self) -> int:
        return await self._committer.run(self._store.used_bytes) if self._rows_count else 0
