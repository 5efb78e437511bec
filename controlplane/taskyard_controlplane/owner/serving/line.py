"""Who stands before a ready run: for people who ask why it waits. Nothing here is in the way of a run.

An agent is fed from queues of one name after the other. Only what every agent can execute that could execute
the run is counted, and from queues of other names only what each of them prefers: the rest may go elsewhere.
So the answer is never too high.
"""

from collections.abc import Sequence
from typing import NamedTuple

from taskyard_controlplane.domain.matching import Need
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.lanes import Served
from taskyard_controlplane.owner.queueing.ready_queues import ReadyRuns


class InTheWay(NamedTuple):
    """Some runs of one session."""

    runs: int
    one: Run
    """One of them."""
    takes_turns: bool
    """Whether its session and that of the run that waits take turns, and it need not start before that."""


class ServedByAll(NamedTuple):
    """What all of some agents are fed from."""

    preferred: list[tuple[ReadyRuns, Served]]
    """Queues of other names that all of them are fed from before those of one name."""
    own: Served
    """What they can execute of the queues of that name."""


def served_by_all(dispatcher: Dispatcher, need: Need, agents: Sequence[AgentSession]) -> ServedByAll:
    """Return what all agents are fed from that could execute runs with a need."""
    each = [dict(dispatcher.ready.served(agent, agent.meets_apart(need))) for agent in agents]
    queue = dispatcher.ready.queues.get(need)
    if queue is None or not each:
        return ServedByAll([], set())
    preferred: list[tuple[ReadyRuns, Served]] = []
    for name in each[0]:
        if name is queue.ready:
            break
        if all(_is_sooner(list(names), name, queue.ready) for names in each[1:]):
            preferred.append((name, _shared(name, each)))
    return ServedByAll(preferred, _shared(queue.ready, each))


def before(dispatcher: Dispatcher, run: Run, served: ServedByAll) -> list[InTheWay]:
    """Return whose runs some agents are fed with before a run that is in a queue, or in turn with it."""
    found = [
        InTheWay(len(each.runs), each.runs[0], takes_turns=False)
        for name, needs in served.preferred
        for each in name
        if each.runs and each.need in needs
    ]
    standing = dispatcher.standing(run)
    for ahead in dispatcher.ahead_of(run, served.own):
        takes_turns = ahead.share != standing.share and ahead.priority >= standing.priority
        found.append(InTheWay(ahead.runs, ahead.next_run, takes_turns))
    return found


def _is_sooner(names: list[ReadyRuns], one: ReadyRuns, other: ReadyRuns) -> bool:
    return one in names and (other not in names or names.index(one) < names.index(other))


def _shared(name: ReadyRuns, each: Sequence[dict[ReadyRuns, Served]]) -> Served:
    return set.intersection(*(set(names.get(name, ())) for names in each))
