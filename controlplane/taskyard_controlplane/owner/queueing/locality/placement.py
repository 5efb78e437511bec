"""What an agent gets next, where it matters who has the inputs of runs (data locality).

As long as all agents see the directory of the store it does not, and nobody asks here. Runs come from the
ready queues in their order. One that reads large values goes

- to the agent whose turn it is, if no other one has more of them, or that agent does not say what it has;
- else to one that has most of them, at once, if that takes more. Agents take more than they have slots for:
  if the first one has a slot free, the other has to be expected to begin before the transfer would be over;
- else it waits for one of those, and the first one looks for something else (`delayed`). If there is nothing
  that is nearer to it, it takes the run after all: at once, or as soon as that would have been moved.

This is decided once for each run, from a few agents and values, however many there are. What an agent has to
fetch for is a chunk of its own, so that runs start as their inputs come.
"""

from collections.abc import Callable, Container
from typing import Final

from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.kept_values import LEAST_BYTES, KeptValues, Value
from taskyard_controlplane.owner.queueing.locality.delayed import DelayedRuns, patience_for
from taskyard_controlplane.owner.queueing.locality.large_values import large_values
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.standing import Standing
from taskyard_controlplane.owner.queueing.turns import EVERYBODY, cost_of
from taskyard_controlplane.owner.timers import Timer, Timers

MS: Final = 1_000.0
HOPELESS: Final = 5.0
"""So many times its patience: an agent that is expected to have no room before is not waited for. Not less:
nobody knows how long what it has in hand will take."""
Chunks = list[tuple[AgentSession, list[Run]]]
"""Runs, and to whom they are assigned."""


class Placement:
    """Takes runs from the ready queues for the agents that are best placed to execute them."""

    def __init__(
        self,
        kept: KeptValues,
        ready: Matchmaking,
        standing: Callable[[Run], Standing],
        timers: Timers,
        pump: Callable[[], None],
    ) -> None:
        """Take runs of `ready`; `pump` is called when agents may have what has waited for others."""
        self.kept = kept
        self._ready = ready
        self._standing = standing
        self._timers = timers
        self._pump = pump
        self._timer: Timer | None = None
        self.delayed = DelayedRuns(self._takes)

    @property
    def matters(self) -> bool:
        """Whether there are agents that do not have all values alike, or runs that wait for such ones."""
        return self.kept.any or bool(self.delayed.waiting)

    def _takes(self, agent: AgentSession, run: Run) -> bool:
        """Say whether an agent takes a run as soon as it has room for one."""
        room = agent.apart if agent.takes_apart(run.template) else agent
        if room.nested_only and not run.waited_for_by:
            restricted: Container[int] = room.nested_only_shares or EVERYBODY
            if self._standing(run).share in restricted:
                return False
        return agent.is_fed and self._ready.feeds(agent, run.template)

    def next(self, agent: AgentSession, limit: int, apart: bool = False) -> Chunks:
        """Take what an agent gets next, up to `limit` runs, and what others get because its turn has come.

        Args:
            agent: The agent.
            limit: Most runs.
            apart: Whether into its room for coroutines, or into its slots.
        """
        now, chunks = self._timers.now(), Chunks()
        while limit > 0 and not self._take_delayed(agent, apart, now, chunks):
            runs = self._ready.pop(agent, limit, apart)
            if not runs:
                self.delayed.kept_from(agent, apart, now)
                self._take_delayed(agent, apart, now, chunks)
                break
            if self._place(agent, runs, now, chunks):
                break
        return chunks

    def _take_delayed(self, agent: AgentSession, apart: bool, now: float, chunks: Chunks) -> bool:
        """Assign a run that has waited for an agent, or long enough for others; whether there is one."""
        found = self.delayed.pop(agent, apart, now)
        if found is None:
            return False
        run, is_near = found
        if is_near:
            self.delayed.served(agent)
        chunks.append((agent, [run]))
        return True

    def _place(self, agent: AgentSession, runs: list[Run], now: float, chunks: Chunks) -> bool:
        """Assign runs of which an agent is to have what is not better off elsewhere; whether it has any."""
        if not self.kept.is_apart(agent):
            self.delayed.served(agent)
            chunks.append((agent, runs))
            return True
        near: list[Run] = []
        far = False
        chunks.append((agent, near))
        for run in runs:
            values = large_values(run) if run.inputs is not None or run.args_blob is not None else None
            lacking = sum(size for _, size in values) - self.kept.held(agent, values) if values else 0
            if values is None or lacking < LEAST_BYTES:
                near.append(run)
            elif not self._is_better_off(run, values, lacking, agent, now, chunks):
                far = True
                chunks.append((agent, [run]))
        if near:
            self.delayed.served(agent)
        else:
            chunks.remove((agent, near))
        return far or bool(near)

    def _is_better_off(
        self, run: Run, values: list[Value], lacking: int, agent: AgentSession, now: float, chunks: Chunks
    ) -> bool:
        """Assign a run to an agent that has more of its inputs, or let it wait for one; whether it did that.

        To an agent that has to fetch what it is `lacking`, the run is as far as the transfer takes.
        """
        wanted, saved = self._holders(run, values, lacking, agent)
        if not wanted:
            return False
        patience = patience_for(saved)
        waits = {each: self._wait_ms_of(each, run, chunks) for each in wanted}
        soon = [each for each, wait_ms in waits.items() if wait_ms <= patience * MS]
        has_slot = not _wait_ms(agent, run, _handed(agent, chunks))
        best = max(soon if has_slot else wanted, key=lambda each: _room(each, run, chunks), default=None)
        if best is not None and _room(best, run, chunks) > 0:
            self.delayed.served(best)
            chunks.append((best, [run]))
            return True
        if self.delayed.full:
            return False
        hopeless = min(waits.values()) > HOPELESS * patience * MS
        self.delayed.add(run, frozenset(wanted), 0.0 if hopeless else patience, now)
        return True

    def _holders(
        self, run: Run, values: list[Value], lacking: int, agent: AgentSession
    ) -> tuple[list[AgentSession], int]:
        """Return the agents that have most of some values, and how many bytes more than one that is `lacking`
        so many; nobody, if that is not worth anything.
        """
        least = sum(size for _, size in values) - lacking + LEAST_BYTES
        holders = [
            (other, size)
            for other, size in self.kept.holders(values)
            if size >= least and other is not agent and self._takes(other, run)
        ]
        most = max((size for _, size in holders), default=0)
        return [other for other, size in holders if size == most], most - least + LEAST_BYTES

    def _wait_ms_of(self, agent: AgentSession, run: Run, chunks: Chunks) -> float:
        """Return how long a run would wait for an agent, behind others that do already."""
        return _wait_ms(agent, run, _handed(agent, chunks) + self.delayed.waiting_for(agent))

    def leave(self, agent: AgentSession) -> None:
        """Forget an agent, of which nothing more is to be heard."""
        self.kept.leave(agent)
        self.delayed.leave(agent)
        if self.delayed.waiting:
            self._timers.after(0.0, self._pump, name="runs that waited for an agent")

    def assigned(self, agent: AgentSession, apart: bool) -> None:
        """Take in that an agent was assigned what was `next`: it may be full now."""
        if (agent.credit_apart if apart else agent.credit) <= 0:
            self.delayed.served(agent)

    def arm(self) -> None:
        """See to it that runs wait for nobody longer than they may; called after each round."""
        self.delayed.drop_ended()
        now = self._timers.now()
        due = self.delayed.next_due(now)
        if self._timer is not None and self._timer.pending and self._timer.due == due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._timers.after(due - now, self._pump, name="runs near their inputs")


def has_no_slot(agent: AgentSession) -> bool:
    """Say whether an agent has a run for each of its slots. It may take more all the same: they come after
    these, or it waits for the inputs of some.
    """
    return len(agent.held) >= agent.slots


def _room(agent: AgentSession, run: Run, chunks: Chunks) -> int:
    """Return how many more runs of this kind an agent takes, beside those of `chunks`."""
    credit = agent.credit_apart if agent.takes_apart(run.template) else agent.credit
    return credit - _handed(agent, chunks)


def _handed(agent: AgentSession, chunks: Chunks) -> int:
    """Return how many runs an agent has in `chunks`."""
    return sum(len(runs) for other, runs in chunks if other is agent)


def _wait_ms(agent: AgentSession, run: Run, more: int) -> float:
    """Return how long a run would wait for a slot of an agent, if what that has, and `more`, took as long as
    this one: agents take more than they have slots for.
    """
    if agent.takes_apart(run.template):
        return 0.0
    slots = max(1, agent.slots)
    behind = len(agent.held) + more - slots + 1
    return cost_of(run.template) * max(0, behind) / slots
