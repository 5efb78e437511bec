"""Ready runs and agents' credit -> chunks of assigned runs.

Theory of operation. An agent grants credit: how many runs it takes in all, counted up and never down, so that
a grant that is repeated or overtaken changes nothing. Its credit is what it granted less what it was assigned
on this stream. How much it grants is its own affair (20 to 50 ms of work, measured), and so is the size of
the chunks it wants; here is only decided who gets what.

A round (`pump`) is made after every commit and whenever credit arrives. Agents that have credit take turns, a
chunk each, until nobody can take more; which agent is first moves on from round to round, so that short
queues do not always end up with the same one. What an agent gave back goes to the others first (`declined`).
A chunk holds runs of one template and one flow run, because these are said once for all of it; it is executed
by one worker in order and gets consecutive epochs, of which only the first is sent.

Runs with large inputs prefer the agents that have these, if not all have all (`locality`).

Many agents have room for coroutines beside their slots, and grant credit for these apart. Then they are fed
with them apart as well, after the rest of the round; neither takes anything from the other.

The epoch is what a report has to name, so it must be new for every assignment, whoever made the one before:
the generation of the owner in the upper half, a counter in the lower. Nothing here awaits or writes: what was
assigned is logged as one row a round with whatever commit is next, and a run whose assignment a crash forgot
is assigned anew, under an epoch that makes the first execution stale. (Not so with cache keys: `delivery`.)
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import transition
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.changes import Changes
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.kept_values import KeptValues
from taskyard_controlplane.owner.peers.program_worlds import ProgramWorlds
from taskyard_controlplane.owner.queueing.declined import Declined
from taskyard_controlplane.owner.queueing.delivery import Delivery
from taskyard_controlplane.owner.queueing.dispatch_log import DispatchLog
from taskyard_controlplane.owner.queueing.lanes import Served
from taskyard_controlplane.owner.queueing.locality.placement import Placement, has_no_slot
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.ready_queues import Ahead
from taskyard_controlplane.owner.queueing.standing import Standing, standing_of
from taskyard_controlplane.owner.timers import Timers

DISPATCHED: Final = int(RunEvent.DISPATCHED)


class Dispatcher:
    """Assigns ready runs to agents."""

    def __init__(
        self,
        delivery: Delivery,
        log: DispatchLog,
        templates: Templates,
        changes: Changes,
        metrics: Metrics,
        timers: Timers,
        first_epoch: int,
        worlds: ProgramWorlds,
        runs: Mapping[bytes, Run],
        kept_values: KeptValues,
    ) -> None:
        """Assign under epochs above the first of this owner, which makes those of earlier ones stale.

        Agents are sent what programs have handed over for their `worlds`. A run takes the turns of the
        session whose run waits for it, which is among `runs`. Agents have large values as `kept_values` says.
        """
        self._worlds = worlds
        self._delivery = delivery
        self.log = log
        self._templates = templates
        self._changes = changes
        self._metrics = metrics
        self._epoch = first_epoch
        self._standing = partial(standing_of, runs=runs)
        self.ready = Matchmaking(worlds.is_awaited, self._standing)
        self.declined = Declined(timers, self._enqueue_again, self._standing)
        self.placement = Placement(kept_values, self.ready, self._standing, timers, self.pump)
        self.agents: list[AgentSession] = []

    def enqueue(self, run: Run) -> None:
        """Put a ready run into its queue, unless it never left it."""
        if not run.queued:
            run.queued = True
            if run.declined_by is None:
                self.ready.append(run)
            else:
                self._decline(run)

    def enqueue_new(self, runs: Iterable[Run]) -> list[Run]:
        """Put those of some new runs that are ready into their queues, and return the others."""
        return self.ready.append_new(runs)

    def _decline(self, run: Run) -> None:
        decliner, run.declined_by = run.declined_by, None
        agent = next((agent for agent in self.agents if agent is decliner), None)
        if agent is not None:
            self.declined.add(run, agent, self.agents)
        else:
            self.ready.append(run)

    def _enqueue_again(self, runs: list[Run]) -> None:
        for run in runs:
            self.enqueue(run)
        self.pump()

    def ahead_of(self, run: Run, served: Served | None = None) -> list[Ahead]:
        """Return who has runs that come before a ready run, or take turns with it, in queues of its name.

        What needs something else counts if it is among those that are `served`, or if that is None.
        """
        return self.ready.of_template(run.template).ready.ahead_of(run, self._standing(run), served)

    def standing(self, run: Run) -> Standing:
        """Return whose turns a run takes, and among whom."""
        return self._standing(run)

    def add(self, agent: AgentSession) -> None:
        """Let an agent take part."""
        if agent not in self.agents:
            self.agents.append(agent)
        self.ready.serve(agent)
        self.declined.serve(agent)

    def remove(self, agent: AgentSession) -> None:
        """Assign nothing more to an agent; what it holds is not touched."""
        if agent in self.agents:
            self.agents.remove(agent)
            self.ready.leave(agent)
            self.declined.leave(agent)
            self.placement.leave(agent)

    def look_again(self) -> None:
        """Assign what has waited for programs that have come back since, or must be taken as gone."""
        self.ready.look_again()
        self.pump()

    def pump(self) -> None:
        """Assign whatever can be assigned now, agents in turn, a chunk at a time."""
        hungry = [agent for agent in self.agents if agent.credit > 0]
        if self.placement.matters:
            hungry.sort(key=has_no_slot)
        while hungry:
            hungry = [agent for agent in hungry if self._feed(agent)]
        if self.ready.has_coroutines or self.declined.any:  # where nobody has async tasks it costs nothing
            hungry = [agent for agent in self.agents if agent.credit_apart > 0]
            while hungry:
                hungry = [agent for agent in hungry if self._feed_apart(agent)]
        if self.placement.matters:
            self.placement.arm()
        if self._delivery.bodies.known:
            self._delivery.bodies.forget()
        # A different agent is first next time, so that short queues do not always go to the same one.
        if len(self.agents) > 1:
            self.agents.append(self.agents.pop(0))

    def _feed(self, agent: AgentSession) -> bool:
        """Assign one chunk; whether the agent could take more."""
        limit = min(agent.credit, max(1, agent.chunk_size))
        runs = self.declined.pop(agent, limit)
        if not runs and self.placement.matters:
            return self._feed_by_locality(agent, limit) and agent.credit > 0
        runs = runs or self.ready.pop(agent, limit)
        if not runs:
            return False
        self._assign(agent, runs)
        return agent.credit > 0

    def _feed_apart(self, agent: AgentSession) -> bool:
        """Assign one chunk of coroutines to an agent that has room for them beside its slots."""
        limit = min(agent.credit_apart, max(1, agent.apart.chunk_size))
        runs = self.declined.pop(agent, limit, apart=True)
        if not runs and self.placement.matters:
            return self._feed_by_locality(agent, limit, apart=True) and agent.credit_apart > 0
        runs = runs or self.ready.pop(agent, limit, apart=True)
        if not runs:
            return False
        self._assign(agent, runs)
        return agent.credit_apart > 0

    def _feed_by_locality(self, agent: AgentSession, limit: int, apart: bool = False) -> bool:
        """Assign a few chunks, to others as well; whether the agent itself got anything."""
        fed = False
        for whose, runs in self.placement.next(agent, limit, apart):
            self._assign(whose, runs)
            fed = fed or whose is agent
        self.placement.assigned(agent, apart)
        return fed

    def _assign(self, agent: AgentSession, runs: list[Run]) -> None:
        first_epoch = self._epoch + 1
        self._epoch += len(runs)
        held, epoch = agent.held, first_epoch
        for run in runs:
            transition(run, DISPATCHED)
            run.epoch = epoch
            run.agent = agent
            held[run.run_id] = run
            epoch += 1
        agent.charge(runs[0].template, len(runs))
        self._metrics.assigned_runs += len(runs)
        self.log.record(agent, runs)
        if self._changes.watched:
            self._changes.noticed(runs)
        template = runs[0].template
        index = agent.template_index(
            template, self._templates.codes.get(template.code_digest), self._worlds.variables_of(template)
        )
        self._delivery.send(agent, index, first_epoch, runs, self._standing(runs[0]).share)

    def forget(self) -> int | None:
        """Return the number below which no row of a dispatch has open runs; None when nothing changed."""
        return self.log.forget(self.agents)
