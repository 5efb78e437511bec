"""Who is connected to a shard: its clients, its agents, and the leases of both."""

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.serving.agents import Agents
from taskyard_controlplane.owner.serving.clients import Clients
from taskyard_controlplane.owner.serving.leases import Leases, LeaseTimes
from taskyard_controlplane.owner.serving.polled_agents import PolledAgents
from taskyard_controlplane.owner.shard.shard import Shard

RECONNECT_MS = 500
"""When to come back to a server that stops: by then its successor on the same machine listens."""


class Connections:
    """The clients and agents of a shard."""

    def __init__(self, shard: Shard, times: LeaseTimes, clock: Clock, max_payload_bytes: int) -> None:
        """Connect clients and agents to `shard`."""
        self._shard = shard
        self.clients = Clients(shard, times, clock, max_payload_bytes)
        self.agents = Agents(shard, times, clock, max_payload_bytes)
        self.polled = PolledAgents(self.agents)
        self.leases = Leases(
            times,
            shard.timers,
            clock,
            shard.committer,
            shard.agents_by_id.values,
            shard.sessions.values,
            self.agents.lost,
            self.clients.lost,
        )

    def begin_stop(self, after_ms: int = RECONNECT_MS) -> None:
        """Tell everybody to reconnect, because this server stops."""
        for session in self._shard.sessions.values():
            session.reconnect(after_ms)
        for agent in self._shard.agents:
            agent.reconnect(after_ms)
