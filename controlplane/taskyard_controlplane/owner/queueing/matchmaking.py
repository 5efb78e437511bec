"""All ready runs, and which of them each agent is fed with.

Runs are queued by what they need, and whether an agent meets a need is decided once for each pair of them,
when either is new. So matching costs nothing per run and nothing per chunk, however many runs wait that
nobody can execute: an agent never looks at a queue that is not for it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from taskyard_controlplane.domain.matching import Need, matches
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.queueing.ready_queues import READY, ReadyQueue, pop_first

MAX_TEMPLATES: Final = 4_096
"""Whose queue is remembered; it is looked up again when so many have come."""
FEW_QUEUES: Final = 1_024
"""So many may be empty: needs come again."""
ENDED_SHARE: Final = 8
"""One part in so many of the runs in the queues may have ended there."""


def _never(world: tuple[bytes, int] | None) -> bool:
    """Wait for no program."""
    return False


class Matchmaking:
    """The ready queues of a shard, by need, and the agents that are fed from them."""

    def __init__(self, is_awaited: Callable[[tuple[bytes, int] | None], bool] = _never) -> None:
        """Know no need and no agent yet.

        Args:
            is_awaited: Whether the program of a world has to come back before its runs are of use to any
                agent. When that changes, `look_again`.
        """
        self._is_awaited = is_awaited
        self.queues: dict[Need, ReadyQueue] = {}
        # By number of the template: hashing a need for every run would cost more than all the rest of
        # queueing it. Not by the template itself, which this would keep in memory.
        self._by_template: dict[int, ReadyQueue] = {}
        # For each agent, and each queue name it serves in its own order: the queues it can be fed from.
        self._served: dict[AgentSession, list[list[ReadyQueue]]] = {}
        # Of coroutines, for agents that have room for these beside their slots.
        self._apart: dict[AgentSession, list[list[ReadyQueue]]] = {}
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
        template = run.template
        queue = self._by_template.get(template.template_id)
        if queue is None:
            if len(self._by_template) >= MAX_TEMPLATES:
                self._by_template.clear()
            queue = self._by_template[template.template_id] = self.queue_of(template.need)
        return queue.place_of(run)

    def queue_of(self, need: Need) -> ReadyQueue:
        """Return the queue of a need, opened for the agents that meet it if it is new."""
        queue = self.queues.get(need)
        if queue is None:
            queue = self.queues[need] = ReadyQueue()
            for agent, ordinary in self._served.items():
                if self._matches(need, agent):
                    served = self._apart[agent] if need.coroutine and agent.coroutines else ordinary
                    served[agent.offer.queues.index(need.queue)].append(queue)
        return queue

    def serve(self, agent: AgentSession) -> None:
        """Feed an agent from all queues that are for it."""
        self._served[agent] = self._queues_for(agent, False)
        self._apart[agent] = self._queues_for(agent, True)

    def _queues_for(self, agent: AgentSession, apart: bool) -> list[list[ReadyQueue]]:
        return [
            [
                queue
                for need, queue in self.queues.items()
                if need.queue == name
                and (need.coroutine and agent.coroutines > 0) is apart
                and self._matches(need, agent)
            ]
            for name in agent.offer.queues
        ]

    def _matches(self, need: Need, agent: AgentSession) -> bool:
        return matches(need, agent.offer) and not (need.world and self._is_awaited(need.world))

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
        nested_only = agent.apart.nested_only if apart else agent.nested_only
        for queues in self._apart[agent] if apart else self._served[agent]:
            taken = pop_first(queues, limit, nested_only)
            if taken:
                return taken
        return []

    def tidy(self) -> bool:
        """Let go of runs that have ended in their queues, and of the queues of needs that nobody has any
        more; whether there were such queues. Whoever keeps what `queue_of` returned asks again then.

        An agent drops what has ended when it comes upon it, so this is for queues that none is fed from.
        """
        waiting = sum(
            len(runs)
            for queue in self.queues.values()
            for lane in queue.lanes()
            for runs in lane.priorities.values()
        )
        if self.ended * ENDED_SHARE <= waiting and len(self.queues) <= self._many:
            return False
        self.ended = 0
        before = len(self.queues)
        left = {need: queue.tidy() for need, queue in self.queues.items()}
        if before > self._many:
            self.queues = {need: queue for need, queue in self.queues.items() if left[need]}
            self._many = max(FEW_QUEUES, 2 * len(self.queues))
        if len(self.queues) == before:
            return False
        self._by_template.clear()
        self.look_again()
        return True

    def remaining(self) -> list[Run]:
        """Take all ready runs out, in the order in which they would start, need by need."""
        return [run for queue in self.queues.values() for lane in queue.lanes() for run in lane.clear()]
