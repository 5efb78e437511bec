"""Who stands before a ready run: for people who ask why it waits. Nothing here is in the way of a run.

An agent is fed from queues by need. What every agent prefers that could execute the run is certainly ahead of
it; what only some of them prefer may be, and is not counted. So the answer is never too high.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Final

from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.ready_queues import READY, Rank, ReadyQueue

MOST_COUNTED: Final = 50_000
"""Runs that are looked at for one answer, some 5 ms: more than a window holds."""


def ahead_of(ready: Matchmaking, run: Run, agents: Iterable[AgentSession]) -> Iterator[Run]:
    """Iterate over the ready runs that all of some agents are fed with before a run that is in a queue."""
    found = islice(_before(ready, run, agents), MOST_COUNTED)
    return (each for each in found if each.state == READY)


def _before(ready: Matchmaking, run: Run, agents: Iterable[AgentSession]) -> Iterator[Run]:
    own = ready.queues.get(run.template.need)
    served = [queues for agent in agents if (queues := ready.served(agent))]
    if own is None or not served:
        return
    rank = _rank_of(own, run)
    for other in dict.fromkeys(queue for queues in served[0] for queue in queues):
        places = {_compared(queues, other, own) for queues in served}
        if places == {-1}:
            yield from _sooner(other, None)
        elif places <= {-1, 0}:
            yield from _sooner(other, rank)


def _compared(served: Sequence[Sequence[ReadyQueue]], one: ReadyQueue, other: ReadyQueue) -> int:
    """Say whether an agent is fed from a queue before another one (-1), with it (0), or later (1)."""
    places = {id(queue): place for place, queues in enumerate(served) for queue in queues}
    mine, theirs = places.get(id(one)), places.get(id(other))
    return 1 if mine is None or theirs is None else (mine > theirs) - (mine < theirs)


def _rank_of(queue: ReadyQueue, run: Run) -> Rank:
    runs = queue.place_of(run)
    lane = next(lane for lane in queue.lanes() if lane.priorities.get(run.template.priority) is runs)
    return lane.rank, run.template.priority, run.seq


def _sooner(queue: ReadyQueue, rank: Rank | None) -> Iterator[Run]:
    for lane in queue.lanes():
        for priority, runs in lane.priorities.items():
            if rank is None or (lane.rank, priority) < rank[:2]:
                yield from runs
            elif (lane.rank, priority) == rank[:2]:
                yield from takewhile(lambda run: run.seq < rank[2], runs)
