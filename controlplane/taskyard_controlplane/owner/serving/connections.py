"""Who is connected to a shard: its clients, its agents, and the leases of both."""

from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.serving.agents import Agents
from taskyard_controlplane.owner.serving.announcements import MAX_UNACKED_BATCHES
from taskyard_controlplane.owner.serving.clients import Clients
from taskyard_controlplane.owner.serving.intake import Intake
from taskyard_controlplane.owner.serving.leases import Leases
from taskyard_controlplane.owner.serving.polled_agents import PolledAgents
from taskyard_controlplane.owner.serving.terms import Terms
from taskyard_controlplane.owner.shard.shard import Shard

RECONNECT_MS: Final = 500
"""When to come back to a server that stops: by then its successor on the same machine listens."""


class Connections:
    """The clients and agents of a shard."""

    def __init__(self, shard: Shard, terms: Terms, clock: Clock, metrics: Metrics) -> None:
        """Connect clients and agents to `shard`."""
        self._roster = shard.roster
        self.agents = Agents(shard, terms, clock, metrics)
        self.polled = PolledAgents(self.agents)
        memory = terms.memory
        self.client_intake = Intake(
            shard.committer,
            clock,
            per_peer=memory.read_from_client,
            most=memory.uncommitted,
            most_batches=MAX_UNACKED_BATCHES,
        )
        self.clients = Clients(shard, terms, clock, self.client_intake.crowd)
        self.agent_intake = Intake(
            shard.committer, clock, per_peer=memory.read_from_agent, most=memory.read_from_agents
        )
        self.leases = Leases(
            terms.times,
            shard.timers,
            clock,
            shard.committer,
            shard.roster.agents.values,
            shard.roster.sessions.values,
            self.agents.lost,
            self.clients.lost,
        )

    def begin_stop(self, after_ms: int = RECONNECT_MS) -> None:
        """Tell everybody to reconnect, because this server stops."""
        for session in self._roster.sessions.values():
            session.reconnect(after_ms)
        for agent in list(self._roster.agents.values()):
            agent.reconnect(after_ms)
