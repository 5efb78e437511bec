"""Ready runs that came back from an agent that did not start them: everybody else may have them at once, it
after a pause.

Agents give runs back for good reasons: they drain, they hold more than they get done, what is in hand must
end first. And there are bad ones, which an owner cannot tell from those: an agent that lacks something, or
whose connection lets nothing large through. Without a pause the same run would go to and fro as fast as
messages travel. So the pause begins at a moment that nobody notices, doubles each time the agent declines
again without having executed anything in between, and holds for what it declined, not for other work.

While its pause lasts an agent is offered nothing that others have declined either, or two of them could hand
runs to each other without one.
"""

from collections.abc import Callable, Iterable
from typing import Final

from taskyard_contract.states import StateReason
from taskyard_controlplane.domain.model import Holder, Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.standing import Standing
from taskyard_controlplane.owner.timers import Timers

FIRST_PAUSE: Final = 0.1
"""Seconds. Many round trips, and less than people notice."""
LONGEST_PAUSE: Final = 5.0
"""What keeps an agent from executing a run may pass; trying so often costs nothing."""


class Declined:
    """The declined runs of a shard, apart by who declined them."""

    def __init__(
        self, timers: Timers, take_back: Callable[[list[Run]], None], standing: Callable[[Run], Standing]
    ) -> None:
        """Hand runs to `take_back` when the pause of who declined them is over.

        Whose turns they take meanwhile, `standing` says.
        """
        self._timers = timers
        self._standing = standing
        self._take_back = take_back
        self._groups: dict[Holder, Matchmaking] = {}

    def add(self, run: Run, decliner: AgentSession, agents: Iterable[AgentSession]) -> None:
        """Offer a run to all of `agents` but who declined it."""
        group = self._groups.get(decliner)
        if group is None:
            group = self._groups[decliner] = Matchmaking(standing=self._standing)
            for agent in agents:
                group.serve(agent)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(decliner.declines, 16))
            decliner.declines += 1
            self._timers.after(pause, lambda: self.release(decliner), name=f"pause of '{decliner.name}'")
        group.append(run)

    @property
    def any(self) -> bool:
        """Whether there may be something that somebody has declined."""
        return bool(self._groups)

    def pop(self, agent: AgentSession, limit: int, apart: bool = False) -> list[Run]:
        """Take up to `limit` runs of one template and flow run that others have declined."""
        if not self._groups or agent in self._groups:
            return []
        for group in self._groups.values():
            taken = group.pop(agent, limit, apart)
            if taken:
                return taken
        return []

    def decliner_of(self, run: Run) -> Holder | None:
        """Return the agent that gave a run back, while its pause goes on. For people who ask."""
        if run.reason != StateReason.GIVEN_BACK:
            return None
        last = run.last_agent
        return next((each for each in self._groups if last and each.agent_id == last.agent_id), None)

    def serve(self, agent: AgentSession) -> None:
        """Offer an agent what there is."""
        for group in self._groups.values():
            group.serve(agent)

    def leave(self, agent: AgentSession) -> None:
        """Offer an agent nothing more; what it declined, it cannot get again."""
        self.release(agent)
        for group in self._groups.values():
            group.leave(agent)

    def release(self, decliner: AgentSession) -> None:
        """Let everybody have what an agent declined."""
        group = self._groups.pop(decliner, None)
        if group is not None:
            self._take_back(group.remaining())
