"""Who stands before a ready run: for people who ask why it waits. Nothing here is in the way of a run.

An agent is fed from queues of one name after the other. Only what every agent can execute that could execute
the run is counted, and from queues of other names only what each of them prefers: the rest may go elsewhere.
So the answer is never too high.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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


def before(dispatcher: Dispatcher, run: Run, agents: Sequence[AgentSession]) -> list[InTheWay]:
    """Return whose runs some agents are fed with before a run that is in a queue, or in turn with it."""
    served = [dict(dispatcher.ready.served(agent)) for agent in agents]
    own = dispatcher.ready.of_template(run.template).ready
    found = [
        InTheWay(len(runs), runs[0], takes_turns=False)
        for name in _preferred(own, served)
        for runs in _of_all(name, _shared(name, served))
    ]
    standing = dispatcher.standing(run)
    for ahead in dispatcher.ahead_of(run, _shared(own, served)):
        takes_turns = ahead.share != standing.share and ahead.priority >= standing.priority
        found.append(InTheWay(ahead.runs, ahead.next_run, takes_turns))
    return found


def _preferred(own: ReadyRuns, served: Sequence[dict[ReadyRuns, Served]]) -> Iterator[ReadyRuns]:
    """Iterate over the queues that all agents are fed from before those of a name."""
    for other in served[0] if served else ():
        if other is own:
            return
        if all(other in names and _is_sooner(list(names), other, own) for names in served[1:]):
            yield other


def _is_sooner(names: list[ReadyRuns], one: ReadyRuns, other: ReadyRuns) -> bool:
    return other not in names or names.index(one) < names.index(other)


def _shared(name: ReadyRuns, served: Sequence[dict[ReadyRuns, Served]]) -> Served:
    """Return what all agents can execute of the queues of a name."""
    sets = [set(names.get(name, ())) for names in served]
    return set.intersection(*sets) if sets else set()


def _of_all(ready: ReadyRuns, served: Served) -> Iterator[Sequence[Run]]:
    return (each.runs for each in ready if each.runs and each.need in served)
