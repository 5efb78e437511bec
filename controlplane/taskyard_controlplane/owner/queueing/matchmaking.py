"""All ready runs, and which of them each agent is fed with.

Runs are queued by what they need, and whether an agent meets a need is decided once for each pair of them,
when either is new. So matching costs nothing per run and nothing per chunk, however many runs wait that
nobody can execute: an agent never looks at a queue that is not for it.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from taskyard_controlplane.domain.matching import Need, has_task, matches
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.queueing.lanes import READY, Served
from taskyard_controlplane.owner.queueing.ready_queues import ReadyQueue, ReadyRuns
from taskyard_controlplane.owner.queueing.standing import Standing, standing_of
from taskyard_controlplane.owner.queueing.turns import EVERYBODY

MAX_TEMPLATES: Final = 4_096
"""Whose queue is remembered; it is looked up again when so many have come."""
FEW_QUEUES: Final = 1_024
"""So many may be empty: needs come again."""
ENDED_SHARE: Final = 8
"""One part in so many of the runs in the queues may have ended there."""


def _never(world: tuple[bytes, int] | None) -> bool:
    """Wait for no program."""
    return False


def _alone(run: Run) -> Standing:
    """Know of no other run that could wait for this one."""
    return standing_of(run, {})


class Matchmaking:
    """The ready queues of a shard, by need, and the agents that are fed from them."""

    def __init__(
        self,
        is_awaited: Callable[[tuple[bytes, int] | None], bool] = _never,
        standing: Callable[[Run], Standing] = _alone,
    ) -> None:
        """Know no need and no agent yet.

        Args:
            is_awaited: Whether the program of a world has to come back before its runs are of use to any
                agent. When that changes, `look_again`.
            standing: Says whose turns a run takes, and among whom.
        """
        self._is_awaited = is_awaited
        self._standing = standing
        self.queues: dict[Need, ReadyQueue] = {}
        self.names: dict[str, ReadyRuns] = {}
        """What is ready in queues of one name, whatever it needs."""
        # By number of the template: hashing a need for every run would cost more than all the rest of
        # queueing it. Not by the template itself, which this would keep in memory.
        self._by_template: dict[int, ReadyQueue] = {}
        # For each agent, and each queue name it serves in its own order: what it can be fed from there.
        self._served: dict[AgentSession, list[tuple[ReadyRuns, set[ReadyQueue]]]] = {}
        # Of coroutines, for agents that have room for these beside their slots.
        self._apart: dict[AgentSession, list[tuple[ReadyRuns, set[ReadyQueue]]]] = {}
        self.has_coroutines = False
        """Whether there was ever a run of a coroutine function among them."""
        self.ended = 0
        """How many runs have ended in their queue since it was tidied; counted where runs end."""
        self._many = FEW_QUEUES

    def append(self, run: Run) -> None:
        """Put a run into the queue of its need."""
        self.place_of(run).append(run)

    def append_new(self, runs: Iterable[Run]) -> list[Run]:
        """Put those of some new runs that are ready into their queues, and return the others.

        Nearly always many have template and session in common, and so their place. This happens to every run
        there is: to look for the place of each would cost more than all the rest of queueing it.
        """
        others: list[Run] = []
        template = session = None
        append = others.append
        for run in runs:
            if run.state != READY:
                others.append(run)
                continue
            if run.queued:  # read back meanwhile, and here already
                continue
            if run.template is not template or run.session is not session or run.caller_id:
                append = self.place_of(run).append
                # One with a caller of its own says nothing about the next.
                template, session = (None, None) if run.caller_id else (run.template, run.session)
            run.queued = True
            append(run)
        return others

    def place_of(self, run: Run) -> deque[Run]:
        """Return the runs behind which a run has to wait: they are those of all runs of its template, session
        and caller, until something is taken out.
        """
        return self.of_template(run.template).place_of(run, self._standing(run))

    def of_template(self, template: Template) -> ReadyQueue:
        """Return the queue in which the runs of a template wait."""
        queue = self._by_template.get(template.template_id)
        if queue is None:
            if len(self._by_template) >= MAX_TEMPLATES:
                self._by_template.clear()
            queue = self._by_template[template.template_id] = self.queue_of(template.need)
        return queue

    def queue_of(self, need: Need) -> ReadyQueue:
        """Return the queue of a need, opened for the agents that meet it if it is new."""
        queue = self.queues.get(need)
        if queue is None:
            queue = self.queues[need] = ReadyQueue(self._ready(need.queue), need.coroutine)
            self.has_coroutines = self.has_coroutines or need.coroutine
            for agent, ordinary in self._served.items():
                if self._matches(need, agent):
                    served = self._apart[agent] if need.coroutine and agent.coroutines else ordinary
                    served[agent.offer.queues.index(need.queue)][1].add(queue)
        return queue

    def _ready(self, name: str) -> ReadyRuns:
        ready = self.names.get(name)
        if ready is None:
            ready = self.names[name] = ReadyRuns()
        return ready

    def serve(self, agent: AgentSession) -> None:
        """Feed an agent from all queues that are for it."""
        self._served[agent] = self._queues_for(agent, apart=False)
        self._apart[agent] = self._queues_for(agent, apart=True)

    def _queues_for(self, agent: AgentSession, *, apart: bool) -> list[tuple[ReadyRuns, set[ReadyQueue]]]:
        return [
            (
                self._ready(name),
                {
                    queue
                    for need, queue in self.queues.items()
                    if need.queue == name
                    and (need.coroutine and agent.coroutines > 0) is apart
                    and self._matches(need, agent)
                },
            )
            for name in agent.offer.queues
        ]

    def _matches(self, need: Need, agent: AgentSession) -> bool:
        if not matches(need, agent.offer):
            return False
        return has_task(need, agent.offer) or not (need.world and self._is_awaited(need.world))

    def look_again(self) -> None:
        """Feed agents from the queues of programs that are not awaited any more."""
        for agent in self._served:
            self.serve(agent)

    def leave(self, agent: AgentSession) -> None:
        """Feed an agent no more."""
        self._served.pop(agent, None)
        self._apart.pop(agent, None)

    def pop(self, agent: AgentSession, limit: int, apart: bool = False) -> list[Run]:
        """Take up to `limit` runs of one template and flow run that an agent is fed with next.

        Args:
            agent: The agent.
            limit: Most runs.
            apart: Whether of coroutines for which it has room beside its slots, or of all others.
        """
        room = agent.apart if apart else agent
        restricted: Container[int] = (room.nested_only_shares or EVERYBODY) if room.nested_only else ()
        for ready, queues in self._apart[agent] if apart else self._served[agent]:
            taken = ready.pop(queues, limit, restricted, apart)
            if taken:
                return taken
        return []

    def served(self, agent: AgentSession, apart: bool = False) -> Sequence[tuple[ReadyRuns, Served]]:
        """Return what an agent is fed from, name by name, in the order in which it wants to.

        Args:
            agent: The agent.
            apart: Whether into its room for coroutines, or into its slots.
        """
        return (self._apart if apart else self._served).get(agent, ())

    def feeds(self, agent: AgentSession, template: Template) -> bool:
        """Say whether an agent is fed with runs of a template, as soon as it has room for some."""
        queue = self.of_template(template)
        served = self.served(agent, agent.takes_apart(template))
        return any(queue in queues for _, queues in served)

    def tidy(self) -> bool:
        """Let go of runs that have ended in their queues, and of the queues of needs that nobody has any
        more; whether that was looked for. Whoever keeps what `queue_of` returned asks again then.

        An agent drops what has ended when it comes upon it, so this is for queues that none is fed from.
        """
        waiting = sum(len(each.runs) for ready in self.names.values() for each in ready)
        many = max(len(self.queues), len(self.names)) > self._many
        if self.ended * ENDED_SHARE <= waiting and not many:
            return False
        self.ended = 0
        for ready in self.names.values():
            ready.tidy()
        if not many:
            return False
        used = {each.need for ready in self.names.values() for each in ready}
        self.queues = {need: queue for need, queue in self.queues.items() if queue in used}
        names = {need.queue for need in self.queues}
        self.names = {name: ready for name, ready in self.names.items() if name in names}
        self._by_template.clear()
        self.look_again()
        self._many = max(FEW_QUEUES, 2 * max(len(self.queues), len(self.names)))
        return True

    def remaining(self) -> list[Run]:
        """Take all ready runs out, in the order in which they would start, session by session."""
        runs = [run for ready in self.names.values() for each in ready for run in each.runs]
        for run in runs:
            run.queued = False
        for ready in self.names.values():
            ready.clear()
        return [run for run in runs if run.state == READY]
