"""Why a run in a queue is not given to an agent: the rules, in the order in which they decide. Pure.

The agents are asked in three steps. Whether any of them could execute the run at all (`lack_of_agents`): when
not, whatever else they do is of no interest. Whether one of those takes work at the moment: when not, each
says what keeps it. And only then who is before the run: that is what most runs wait for, and takes time to
count, so it is counted when it is asked for. Behind the last rule nothing is in the way, and that is said.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskyard_controlplane.domain import wait_reasons
from taskyard_controlplane.domain.matching import Need, Offer, lacking, matches
from taskyard_controlplane.domain.wait_reasons import MOST_NAMED, Others, Reason


class AgentView(NamedTuple):
    """An agent, as far as it matters to those who wait for it: with its slots, or with the room that it has
    for coroutines beside them.
    """

    name: str
    offer: Offer
    connected: bool = True
    draining: bool = False
    condition: str = ""
    away: bool = False
    """Whether it polls, and has to ask again before it is given anything."""
    paused: bool = False
    """Whether it is sent nothing, because what it was sent last did not arrive."""
    nested_only: bool = False
    """Whether it takes only what others wait for, of some sessions or of all."""
    nested_only_shares: frozenset[int] = frozenset()
    """The numbers of these sessions; empty for all."""
    credit: int = 0
    apart: bool = False
    """Whether it would not take a slot there."""

    @property
    def takes_work(self) -> bool:
        """Whether it can be given runs at all at the moment."""
        return self.connected and not (self.draining or self.condition or self.away or self.paused)

    def is_crowded_by(self, share: int) -> bool:
        """Whether it takes of a session only what others wait for."""
        return self.nested_only and (not self.nested_only_shares or share in self.nested_only_shares)


class Line(NamedTuple):
    """Who is in a run's way."""

    ahead: tuple[Others, ...] = ()
    """Runs that start before it, or in turn with it."""
    executed: tuple[Others, ...] = ()
    """Runs that the agents execute which could execute it."""
    own_executing: int = 0
    """How many of its own program are executed, wherever."""


class Standing(NamedTuple):
    """A run that stands in a queue, or would."""

    need: Need
    priority: int
    line: Callable[[], Line]
    nested: bool = False
    """Whether others wait for it."""
    share: int = 0
    """The number of its session."""
    declined_by: AgentView | None = None
    """The agent that gave it back a moment ago."""


def lack_of_agents(need: Need, agents: Sequence[AgentView]) -> Reason | None:
    """Return what no agent has, of those that are connected or may come back; None when one could do it."""
    if any(matches(need, agent.offer) for agent in agents):
        return None
    lack = lacking(need, (agent.offer for agent in agents if agent.connected))
    return None if lack is None else wait_reasons.no_agent(lack, need.queue)


def why_queued(run: Standing, able: Sequence[AgentView]) -> tuple[Reason, ...]:
    """Return why a ready run is not given to an agent, what decides first.

    Args:
        run: The run.
        able: All agents that could execute it.
    """
    kept = tuple(_what_keeps(agent) for agent in able if not agent.takes_work)[:MOST_NAMED]
    willing = [agent for agent in able if agent.takes_work]
    if not willing:
        return kept
    meant = [agent for agent in willing if run.nested or not agent.is_crowded_by(run.share)]
    if not meant:
        return tuple(map(_only_nested, willing[:MOST_NAMED])) + kept
    others = [agent for agent in meant if agent is not run.declined_by]
    if not others:
        return (wait_reasons.agent_declined(meant[0].name), *kept)
    return (*_turn_of(run, others), *kept)


def _only_nested(agent: AgentView) -> Reason:
    if agent.apart and agent.nested_only_shares:
        return wait_reasons.agent_one_by_one(agent.name)
    return wait_reasons.agent_nested_only(agent.name)


def _what_keeps(agent: AgentView) -> Reason:
    if agent.condition:
        return wait_reasons.agent_condition(agent.name, agent.condition)
    if agent.draining:
        return wait_reasons.agent_draining(agent.name)
    if agent.paused:
        return wait_reasons.agent_does_not_receive(agent.name)
    return wait_reasons.agent_away(agent.name)


def _turn_of(run: Standing, agents: Sequence[AgentView]) -> tuple[Reason, ...]:
    line = run.line()
    queue, priority, own = run.need.queue, run.priority, line.own_executing
    full = not any(agent.credit > 0 for agent in agents)
    apart = all(agent.apart for agent in agents)
    if not line.ahead:
        reason = wait_reasons.slots_taken(queue, priority, line.executed, own, apart=apart)
        return (reason if full else wait_reasons.turn(),)
    reason = wait_reasons.queued(queue, priority, line.ahead, own)
    certain = [others for others in line.ahead if not others.takes_turns]
    if not full or any(not others.own for others in certain) or (certain and own):
        return (reason,)
    # What it waits for in the first place are the slots: nobody else is certainly before it.
    taken = wait_reasons.slots_taken(queue, priority, line.executed, own, is_next=False, apart=apart)
    return taken, reason
