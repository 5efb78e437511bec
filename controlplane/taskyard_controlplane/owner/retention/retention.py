"""Retention as a whole: when it looks for what is over, what people may ask it for, and how full things are.

Theory of operation. There is one round at a time, of the clock or of somebody who prunes. A round removes
logs, expired cache entries and runs whose time is over, then, if the home is too full, the oldest runs
before their time, and cache entries last. What blobs lost their references by it are removed by `blobs`,
which looks for some at every beat, whoever made them superfluous, also while a round takes long. Once a day
it looks for what crashes have left over.

What fails is tried again with the next round: nothing depends on it but room.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_contract.errors import Overloaded, TaskyardError
from taskyard_controlplane.owner.retention.blobs import GRACE_US, BlobRemoval
from taskyard_controlplane.owner.retention.expected import Expected
from taskyard_controlplane.owner.retention.logs import LogRemoval
from taskyard_controlplane.owner.retention.pace import Pace
from taskyard_controlplane.owner.retention.policy import Policy
from taskyard_controlplane.owner.retention.room import HomeRoom
from taskyard_controlplane.owner.retention.runs import Removed, RunRemoval
from taskyard_controlplane.owner.retention.unused import UnusedRemoval
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import Store
from taskyard_controlplane.storage.interface.removals import KeptBytes

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 60.0
"""From the start of an owner to its first round: agents and clients come back first."""
ROUND_SECONDS: Final = 3600.0
"""From one round to the next; shorter where something is kept for less than a few hours."""
BEAT_SECONDS: Final = 5.0
"""How often it is looked for blobs to remove: a statement that finds nothing."""
SWEEP_SECONDS: Final = 86_400.0
"""From one search for what crashes left over to the next one."""
PATIENCE_SECONDS: Final = 5.0
"""How long somebody who prunes waits for a round that is under way."""


class Retention:
    """Removes what is over, for one owner."""

    def __init__(
        self,
        store: Store,
        shard: Shard,
        timers: Timers,
        clock: Clock,
        policy: Policy,
        lease: float,
    ) -> None:
        """Remove by `policy`; sessions come back within a lease, or not at all."""
        self._store = store
        self._shard = shard
        self._committer = shard.committer
        self._timers = timers
        self._clock = clock
        self.policy = policy
        self._pace = Pace()
        self._runs = RunRemoval(store, shard, clock, self._pace, self._meanwhile)
        self.blobs = BlobRemoval(store, shard.committer, shard.leaving, clock)
        self.logs = LogRemoval(shard.logs)
        self._unused = UnusedRemoval(store, shard, clock, self._runs.step)
        self._room = HomeRoom(
            store, shard.committer, shard.journal, clock, self._runs, self.blobs, self.logs, self._pace
        )
        self._task: asyncio.Task[object] | None = None
        self._busy = asyncio.Lock()
        # After a restart nobody knows which sessions there are, and may ask for their futures.
        self._all_back = clock.monotonic() + (lease if shard.generation > 1 else 0.0)
        self._next_round = clock.monotonic() + max(FIRST_SECONDS, lease)
        self._next_sweep = self._next_round
        self._next_blobs = 0.0

    async def start(self) -> None:
        """Go on where an owner before has stopped. To be awaited before anybody is served."""
        self._shard.stored.gone_up_to = await self._committer.run(self._store.removals.last_gone)
        self._timers.after(BEAT_SECONDS, self._beat, name="retention")

    def stop(self) -> None:
        """Begin nothing more; what is half done is gone on with by the next owner."""
        if self._task is not None:
            self._task.cancel()

    def _beat(self) -> None:
        if not self._busy.locked() and not self._committer.stalled:
            self._task = asyncio.get_running_loop().create_task(self._do_what_is_due())
        self._timers.after(BEAT_SECONDS, self._beat, name="retention")

    async def _do_what_is_due(self) -> None:
        async with self._busy:
            try:
                if await self._is_round_due():
                    self._next_round = self._clock.monotonic() + self._round_seconds
                    await self._round()
                await self._blobs(Removed())
            except TaskyardError as error:
                log.warning("retention could not remove all that is over, it goes on later: %s", error)
            except Exception as error:
                # Nothing but room depends on it. A database that is lost ends this process elsewhere.
                log.error("retention failed for a reason nobody foresaw", exc_info=error)

    async def _is_round_due(self) -> bool:
        return self._clock.monotonic() >= self._next_round or await self._room.is_to_be_looked_at(self.policy)

    @property
    def _round_seconds(self) -> float:
        kept_us = min(self.policy.shortest, self.policy.logs_us)
        return max(FIRST_SECONDS, min(ROUND_SECONDS, kept_us / 4_000_000))

    async def _round(self) -> None:
        removed = Removed()
        await self._by_age(self.policy, removed)
        await self._room.reduce(self.policy, removed)
        if self._clock.monotonic() >= self._next_sweep:
            self._next_sweep = self._clock.monotonic() + SWEEP_SECONDS
            await self._runs.old_ids()
            await self._unused.remove(self.policy, removed)
            await self.blobs.sweep(self._pace.pause)
            removed.blobs += await self.blobs.remove_orphans(self._pace.pause)
        await self._give_back()
        if removed != Removed():
            log.info("retention removed %s", removed, extra={"event": "retention"})

    async def _by_age(self, policy: Policy, removed: Removed) -> None:
        await self._runs.logs(policy, removed)
        await self.logs.days_before(self._clock.now_us() - policy.logs_us, removed)
        await self._runs.expired_entries(removed)
        round_us = self._round_seconds * 1_000_000
        await self._runs.runs(
            policy, removed, behind=lambda run: policy.late_us(run, self._clock.now_us()) / round_us
        )

    async def _meanwhile(self, removed: Removed) -> None:
        """Do what cannot wait for the end of a round that takes long."""
        if self._clock.monotonic() >= self._next_blobs:
            await self._blobs(removed)

    async def _blobs(self, removed: Removed) -> None:
        self._next_blobs = self._clock.monotonic() + BEAT_SECONDS
        while await self.blobs.doom(0 if self.is_quiet() else GRACE_US):
            await self._pace.pause(0.0)
        while gone := await self.blobs.remove():
            removed.blobs += gone
            await self._pace.pause(0.0)

    async def _give_back(self) -> None:
        """Give room in the database's file back to the system, a little at a time."""
        while await self._committer.run(self._store.give_back):
            await self._pace.pause(0.005)

    def is_quiet(self) -> bool:
        """Whether nobody is there who could have been told the name of a blob and not have opened it yet."""
        roster = self._shard.roster
        if self._clock.monotonic() < self._all_back:
            return False
        return not roster.sessions and not any(agent.held for agent in roster.agents.values())

    # What people ask for.

    async def expected(self, policy: Policy) -> Removed:
        """Return what `prune` would remove.

        Raises:
            Overloaded: Something is being removed at the moment.
        """
        async with self._alone():
            expected = Expected(self._store, self._committer)
            await self._runs.runs(policy, Removed(), take=expected.take)
            removed, now_us = await expected.all(), self._clock.now_us()
            log_bytes = sum(day.size for day in await self.logs.ended_before(now_us - policy.logs_us))
            return replace(removed, cache_entries=await expected.expired(now_us), log_bytes=log_bytes)

    async def prune(self, policy: Policy) -> AsyncGenerator[Removed, None]:
        """Remove what is over by a policy; yields how far it has come, at last when all is done but for blobs
        whose grace is not over.

        Raises:
            Overloaded: Something is being removed at the moment, or sessions may still be coming back.
        """
        async with self._alone():
            left = self._all_back - self._clock.monotonic()
            if left > 0:
                text = "the server has just started, and programs are coming back; try again in a while"
                raise Overloaded(text, retry_after=left)
            self._pace.is_awaited = True
            removed, work = Removed(), None
            try:
                work = asyncio.get_running_loop().create_task(self._prune(policy, removed))
                while not work.done():
                    await asyncio.wait([work], timeout=1.0)
                    yield replace(removed)
                work.result()
            finally:
                self._pace.is_awaited = False
                if work is not None and not work.done():
                    work.cancel()
                    with suppress(asyncio.CancelledError, TaskyardError):
                        await work

    async def _prune(self, policy: Policy, removed: Removed) -> None:
        await self._by_age(policy, removed)
        await self._unused.remove(policy, removed)
        grace_us = 0 if self.is_quiet() else GRACE_US
        while await self.blobs.doom(grace_us):
            await self._pace.pause(0.0)
        while gone := await self.blobs.remove(at_once=self.is_quiet()):
            removed.blobs += gone
        await self._give_back()

    async def kept_bytes(self) -> tuple[int, int, Sequence[KeptBytes]]:
        """Return how much the database holds and has free, and how much blobs take by what refers to them.

        What logs take, `logs` says.
        """
        used, free = await self._committer.run(lambda: (self._store.used_bytes(), self._store.free_bytes()))
        return used, free, await self.blobs.kept_bytes(self._pace.pause)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep rounds from beginning while somebody removes something; one under way mostly ends soon."""
        try:
            await asyncio.wait_for(self._busy.acquire(), PATIENCE_SECONDS)
        except TimeoutError:
            text = "something is being removed at the moment; try again in a while"
            raise Overloaded(text, retry_after=PATIENCE_SECONDS) from None
        try:
            yield
        finally:
            self._busy.release()
