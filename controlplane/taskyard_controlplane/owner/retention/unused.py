"""Removes what runs share and none names any more: templates with their code, and the names of agents.

Nobody counts who needs a template; so it is looked for, over all runs and cache entries, in steps like all of
retention. What is in memory is asked at the moment at which a row goes: who holds a template keeps it, and so
does who has used one since the search began, because what came of that may be behind where the search was.

A connected program has sent its templates, and says of one only that it is needed again. So those of programs
that are here stay; and of a program that was here before this owner was, or was given up in between, nobody
knows what it has sent, so while it is here nothing goes that is older than its return.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from taskyard_contract.clock import Clock
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.owner.retention.policy import Policy
from taskyard_controlplane.owner.retention.runs import Removed
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import Store

T = TypeVar("T")

READ_AT_A_TIME: Final = 1_000
"""Rows of runs: some milliseconds."""
REMOVED_AT_A_TIME: Final = 100
AGAIN_SECONDS: Final = 1.0
"""Before a removal that got no answer is repeated."""


class Step(Protocol):
    """Does a job, then lets others have the writer for a while."""

    def __call__(self, job: Callable[[], T], /) -> Awaitable[T]:
        """Do it."""
        ...


class UnusedRemoval:
    """Removes rows of a shard that many runs share."""

    def __init__(self, store: Store, shard: Shard, clock: Clock, step: Step) -> None:
        """Remove what is in `store`; each part of it is a `step`."""
        self._rows = store.unused
        self._shard = shard
        self._clock = clock
        self._step = step
        self._removing: set[asyncio.Task[int]] = set()

    async def remove(self, policy: Policy, removed: Removed) -> None:
        """Remove what nothing names, and count it."""
        leaving = self._shard.templates.leaving
        leaving.begin()
        try:
            agents = self._agents_here()
            await self._shard.committer.durable()  # what was accepted before is in the database from here on
            templates = await self._named(agents)
            await self._templates(templates, removed)
            await self._agents(agents, self._clock.now_us() - policy.shortest, removed)
        finally:
            leaving.end()

    def _agents_here(self) -> set[int | None]:
        """Return the numbers of the agents that are here, and of those that open runs were with."""
        agents = {agent.identity.number for agent in self._shard.roster.agents.values()}
        runs = self._shard.book.runs.values()
        return agents | {run.last_agent.number for run in runs if run.last_agent is not None}

    async def _named(self, agents: set[int | None]) -> set[int]:
        """Return the templates that rows name; add the agents to `agents`.

        Runs first: one that goes meanwhile leaves what it named to its cache entry.
        """
        templates: set[int] = set()
        for read, first in ((self._rows.named_by_runs, 0), (self._rows.named_by_entries, "")):
            after: Any = first
            while after is not None:
                named = await self._step(partial(read, after, READ_AT_A_TIME))
                templates |= named.templates
                agents |= named.agents
                after = named.last
        return templates

    async def _templates(self, named: set[int], removed: Removed) -> None:
        after = self._known_from() - 1
        while page := await self._step(lambda: self._rows.templates(after, REMOVED_AT_A_TIME)):  # noqa: B023
            after = page[-1]
            unnamed = [template_id for template_id in page if template_id not in named]
            if unnamed:
                removed.templates += await self._go(unnamed)

    async def _go(self, template_ids: Sequence[int]) -> int:
        """Remove those of some templates that nobody needs at this moment."""
        templates, sessions = self._shard.templates, self._shard.roster.sessions.values()
        known_from = self._known_from()  # somebody may have come back meanwhile
        going = [
            template_id
            for template_id in templates.let_go(template_ids)
            if template_id >= known_from
            and not templates.leaving.was_used(template_id)
            and not any(template_id in session.sent_templates for session in sessions)
        ]
        if not going:
            return 0
        # Nothing happens between this and the job, and whoever is cancelled does not break it off: what
        # somebody reads from here on, he reads behind it.
        templates.leaving.begin_removing(going)
        task = asyncio.get_running_loop().create_task(self._gone(going))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
        return await asyncio.shield(task)

    async def _gone(self, template_ids: Sequence[int]) -> int:
        try:
            while True:
                try:
                    return await self._step(lambda: self._rows.remove_templates(template_ids))
                except StorageUnavailable:
                    # It may have happened, or happen yet: until that is known nobody can be told.
                    await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self._shard.templates.leaving.end_removing()

    def _known_from(self) -> int:
        """Return from which number on it is known of all templates who has sent them."""
        return max(
            (each.sent_templates.known_from for each in self._shard.roster.sessions.values()), default=0
        )

    async def _agents(self, named: set[int | None], before_us: int, removed: Removed) -> None:
        after = 0
        while page := await self._step(lambda: self._rows.agents(after, READ_AT_A_TIME)):  # noqa: B023
            after = page[-1][0]
            old = [number for number, at_us in page if at_us <= before_us and number not in named]
            if old:
                removed.agents += await self._step(lambda: self._rows.remove_agents(old))  # noqa: B023
