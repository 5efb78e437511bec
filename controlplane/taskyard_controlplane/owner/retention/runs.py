"""Removes runs whose time is over, and what is about them, in steps beside the traffic.

Each step is one short transaction, a job of the committer like any other; between two of them there is a
pause in proportion to what the step took, so that it takes a small share of the writer: `pace` says which.
Who needs a run is looked at for each step anew: of open runs, and of sessions that are here, everything
stays.

Never removed: open runs; runs inside open flow runs; runs whose results open ones take; runs of sessions that
are connected, or may come back, from the oldest one on whose future the program holds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from taskyard_contract.clock import Clock
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.owner.retention.pace import Pace
from taskyard_controlplane.owner.retention.policy import Policy
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import Store
from taskyard_controlplane.storage.interface.removals import OldRun, Swept

T = TypeVar("T")
log = logging.getLogger(__name__)

LOG_STEP: Final = 500
FLOWS_STEP: Final = 100
NOTED_AT_A_TIME: Final = 2_000
"""Open runs that are looked at without a break: a millisecond."""
REFUSED_US: Final = 24 * 3600 * 1_000_000
"""For how long ids of what is gone are still refused."""


@dataclass(slots=True)
class Removed:
    """What was removed, or would be."""

    runs: int = 0
    logs: int = 0
    events: int = 0
    cache_entries: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    log_bytes: int = 0
    templates: int = 0
    agents: int = 0


class RunRemoval:
    """Removes runs of a shard."""

    def __init__(
        self,
        store: Store,
        shard: Shard,
        clock: Clock,
        pace: Pace,
        meanwhile: Callable[[Removed], Awaitable[None]],
    ) -> None:
        """Remove what is in `store`, and open nowhere in `shard`, at some `pace`; `meanwhile` is called
        between steps: to remove many runs may take hours.
        """
        self._removals = store.removals
        self._shard = shard
        self._committer = shard.committer
        self._clock = clock
        self._pace = pace
        self._meanwhile = meanwhile
        self._held_from: bytes | None = None
        """From which run on somebody who is connected holds futures: of runs of nobody this is all that is
        known.
        """

    async def runs(
        self,
        policy: Policy,
        removed: Removed,
        *,
        take: Callable[[Sequence[int]], Awaitable[None]] | None = None,
        choose: Callable[[Sequence[int]], Awaitable[list[int]]] | None = None,
        enough: Callable[[], Awaitable[bool]] | None = None,
        behind: Callable[[OldRun], float] = lambda _: 0.0,
    ) -> None:
        """Remove the runs whose time is over by now, those with the lowest numbers first.

        Args:
            policy: How long they are kept.
            removed: Where they are counted.
            take: What is done with the numbers of runs instead of removing them.
            choose: Which of the runs of a step are to go.
            enough: Asked after each step whether to stop.
            behind: How far behind removing is (`Pace.behind`), by the next run that goes.
        """
        needed = self._shard.needed
        needed.begin()
        try:
            await self._note_needed()
            kept = await self._last_of_each_flow(policy.keep_last) if policy.keep_last else frozenset()
            after, now_us = 0, self._clock.now_us()  # what is over later is left: this has to end some time
            while page := await self.step(partial(self._removals.runs, after, self._pace.step)):
                if needed.too_many:
                    log.warning("no runs are removed while so many open ones wait for others")
                    return
                after = page[-1].seq
                sessions = self._shard.roster.sessions.values()
                self._held_from = min((session.holds_from for session in sessions), default=None)
                over = [run for run in page if policy.is_over(run, now_us) and not self._is_needed(run, kept)]
                self._pace.behind(behind(over[0]) if over else 0.0)
                seqs = [run.seq for run in over]
                while seqs:
                    part = seqs if choose is None else await choose(seqs)
                    await self._take(part, removed, take)
                    if enough is not None and await enough():
                        return
                    seqs = seqs[len(part) :]
                if page[-1].submitted_us > now_us - policy.shortest:
                    return  # none of those behind it can have ended early enough
                await self._meanwhile(removed)
        finally:
            self._pace.behind(0.0)
            needed.end()

    async def _take(
        self, seqs: list[int], removed: Removed, take: Callable[[Sequence[int]], Awaitable[None]] | None
    ) -> None:
        if take is not None:
            await take(seqs)
            return
        now_us = self._clock.now_us()
        part = await self.step(lambda: self._removals.remove_runs(seqs, now_us))
        removed.runs += part.runs
        removed.events += part.events
        removed.logs += part.logs
        self._shard.stored.gone_up_to = max(self._shard.stored.gone_up_to, part.last_id)

    async def logs(self, policy: Policy, removed: Removed) -> None:
        """Remove log records whose time is over that are in the database: those of the server itself."""
        before_us = self._clock.now_us() - policy.logs_us
        removed.logs += await self._walk(
            lambda after: self._removals.remove_logs(after, before_us, LOG_STEP), 0
        )

    async def expired_entries(self, removed: Removed) -> None:
        """Remove cache entries that have expired."""
        now_us = self._clock.now_us()
        removed.cache_entries += await self._walk(
            lambda after: self._removals.remove_expired(after, now_us, LOG_STEP), ""
        )

    async def old_ids(self) -> None:
        """Forget ids of runs that have been gone for long."""
        before_us = self._clock.now_us() - REFUSED_US
        await self._walk(lambda after: self._removals.forget_gone(after, before_us, LOG_STEP), None)

    async def _walk(self, step: Callable[[T], Swept], first: T) -> int:
        removed, after = 0, first
        while True:
            swept = await self.step(partial(step, after))
            removed += swept.removed
            if swept.last is None:
                return removed
            after = swept.last  # type: ignore[assignment]  # what a walk begins with is what it goes on with

    async def step(self, job: Callable[[], T]) -> T:
        """Do a job, then wait for as long as others should have the writer."""
        took = 0.0

        def timed() -> T:
            nonlocal took
            started = self._clock.monotonic()
            try:
                return job()
            finally:
                took = self._clock.monotonic() - started

        result = await self._committer.run(timed)
        await self._pace.pause(took)
        return result

    async def _note_needed(self) -> None:
        """Note what open runs that are here already take results from.

        Those in the database first: one that comes into memory before it is read there is found here then.
        """
        needed = self._shard.needed
        await self._committer.durable()  # what was submitted before is in the database from here on
        after: int | None = 0
        while after is not None and not needed.too_many:
            edges, after = await self.step(partial(self._removals.waits_of, after, LOG_STEP))
            for packed in edges:
                needed.note_packed(packed)
        runs = list(self._shard.book.runs.values())
        for start in range(0, len(runs), NOTED_AT_A_TIME):
            for run in runs[start : start + NOTED_AT_A_TIME]:
                needed.note_packed(run.upstream or b"")
                needed.note(upstream_id for upstream_id, _, _ in run.inputs or ())
            await asyncio.sleep(0)

    def _is_needed(self, run: OldRun, kept: frozenset[int]) -> bool:
        shard = self._shard
        session = shard.roster.session(run.session_id)
        return (
            run.run_id in shard.needed
            or run.run_id in shard.book.runs
            or (session is not None and run.run_id >= session.holds_from)
            or (run.session_id is None and self._held_from is not None and run.run_id >= self._held_from)
            or (run.flow_state is not None and run.flow_state < FIRST_FINAL)
            or run.seq in kept
            or run.flow_seq in kept
        )

    async def _last_of_each_flow(self, count: int) -> frozenset[int]:
        """Return the numbers of the newest runs of each flow that have ended."""
        newest: dict[str, list[int]] = {}
        after = 0
        while page := await self.step(partial(self._removals.flows, after, FLOWS_STEP)):
            after = page[-1].seq
            for run in page:
                if run.state >= FIRST_FINAL:
                    last = newest.setdefault(run.name, [])
                    last.append(run.seq)
                    del last[:-count]
        return frozenset(seq for seqs in newest.values() for seq in seqs)
