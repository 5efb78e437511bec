"""Runs that wait a moment for an agent that has their inputs (delay scheduling). Pure.

Whose turn it is does not change: a run comes here when it has come to the front of its queue and an agent
could take it that would have to fetch its large inputs first, while another one has them and is busy. Here it
goes before everything else: to one that it waits for at once, to any other when one of two bounds is reached:

- no run is overtaken for longer than `LONGEST_WAIT`;
- no agent stays without work, for the sake of locality, for longer than the patience of a run that it could
  have, which is the time that the transfer would take. Once it has waited for that long, it takes what it can
  get, and waits no more before it was full again, or got a run whose inputs it has: so it pays once for a
  time of little work, and not once a run.

At most `MOST_DELAYED` runs wait at a time, so that to look through them costs next to nothing.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession

READY: Final = int(RunState.READY)
MOST_DELAYED: Final = 64
BYTES_A_SECOND: Final = 1_000_000_000
"""What is assumed of transfers: that of a good network, so that less is waited than they take elsewhere."""
LONGEST_PATIENCE: Final = 0.2
"""Seconds. A run whose inputs take longer goes where there is room all the same."""
LONGEST_WAIT: Final = 1.0
"""Seconds. While everybody has other work; else patience is over long before."""
A_MOMENT: Final = 1e-6
"""Seconds. Sums of times are no more exact than that."""


def patience_for(size: int) -> float:
    """Return for how many seconds an agent may be idle so that so many bytes need not be moved."""
    return min(size / BYTES_A_SECOND, LONGEST_PATIENCE)


class Delayed(NamedTuple):
    """A run that waits."""

    run: Run
    wanted: frozenset[AgentSession]
    """Who has most of what it reads."""
    patience: float
    until: float


class DelayedRuns:
    """Those of a shard, in the order in which they came."""

    def __init__(self, takes: Callable[[AgentSession, Run], bool]) -> None:
        """Have none; `takes` says whether an agent would take a run, if it has room for any."""
        self._takes = takes
        self.waiting: list[Delayed] = []
        """Some may have ended meanwhile."""
        self._idle_since: dict[AgentSession, float] = {}
        """Of agents with room that have not got a run because it is here, nor any other one since."""

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return len(self.waiting) >= MOST_DELAYED

    def add(self, run: Run, wanted: frozenset[AgentSession], patience: float, now: float) -> None:
        """Let a run wait for one of those that are `wanted`."""
        run.queued = True
        self.waiting.append(Delayed(run, wanted, patience, now + LONGEST_WAIT))

    def waiting_for(self, agent: AgentSession) -> int:
        """Return how many runs wait for an agent, among others perhaps."""
        return sum(agent in each.wanted for each in self.waiting)

    def pop(self, agent: AgentSession, apart: bool, now: float) -> tuple[Run, bool] | None:
        """Take the first run that an agent is to have now.

        Args:
            agent: The agent.
            apart: Whether into its room for coroutines, or into its slots.
            now: The time.

        Returns:
            The run, and whether it has waited for this agent; None when there is none.
        """
        self.drop_ended()
        idle_since = self._idle_since.get(agent, now + LONGEST_WAIT)
        for index, (run, wanted, patience, until) in enumerate(self.waiting):
            due = min(until, idle_since + patience) - A_MOMENT
            if (agent in wanted or due <= now) and self._is_for(agent, apart, run):
                del self.waiting[index]
                run.queued = False
                return run, agent in wanted
        return None

    def _is_for(self, agent: AgentSession, apart: bool, run: Run) -> bool:
        return agent.takes_apart(run.template) is apart and self._takes(agent, run)

    def drop_ended(self) -> None:
        """Drop the runs that were cancelled, or adopted, while they waited."""
        if any(each.run.state != READY for each in self.waiting):
            for each in self.waiting:
                each.run.queued = each.run.state == READY
            self.waiting = [each for each in self.waiting if each.run.queued]

    def kept_from(self, agent: AgentSession, apart: bool, now: float) -> None:
        """Note that an agent has room and gets nothing, if it could have a run that waits here."""
        if agent not in self._idle_since and any(
            self._is_for(agent, apart, each.run) for each in self.waiting
        ):
            self._idle_since[agent] = now

    def served(self, agent: AgentSession) -> None:
        """Note that an agent has got a run that is as near to it as to anybody, or is full."""
        self._idle_since.pop(agent, None)

    def leave(self, agent: AgentSession) -> None:
        """Note that an agent takes nothing more; nobody waits for it any longer."""
        self._idle_since.pop(agent, None)
        for index, each in enumerate(self.waiting):
            wanted = each.wanted - {agent}
            self.waiting[index] = each._replace(wanted=wanted, until=each.until if wanted else 0.0)

    def next_due(self, now: float) -> float | None:
        """Return when the next run may go to an agent that it does not wait for; None when that is now, or
        never: then it is only room that is missing, and whoever gets some asks.
        """
        idle = self._idle_since.values()
        times = [
            time
            for each in self.waiting
            for time in (each.until, *(since + each.patience for since in idle))
            if time > now
        ]
        return min(times, default=None)
