"""Looks at both sides of the world at once, which nobody inside it can, and writes down where they disagree.

What is on its way makes sides differ for moments; what differs for longer than that is an error.
"""

from typing import Any, Final

from simulation.net import UP
from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import RunState

PERSISTS_SECONDS: Final = 12.0
"""Longer than anything is on its way: two heartbeats of the longest lease."""
LOOK_SECONDS: Final = 0.5
TOGETHER_SECONDS: Final = 20.0
"""Two times of being unreachable that are closer than this are one: whoever is back needs time to say so."""
NEARLY: Final = 0.4
"""Of a lease: who was away for so long may have been given up, with what reconnecting takes."""


class Watch:
    """The observer of a world."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._since: dict[tuple[str, str, int], float] = {}
        self.hopeless = False
        """Whether something has been found that no waiting will mend."""
        self._away: dict[str, tuple[float, float]] = {}
        world.loop.later(LOOK_SECONDS, self._reachable)

    def message(self, connection: Any, way: str, message: Any) -> None:
        """Count what an agent asks for and gets."""
        if isinstance(message, ap.AgentFrame):
            if way == UP and message.HasField("credit"):
                connection.granted = max(connection.granted, message.credit.granted_total)
        elif isinstance(message, ap.ServerFrame):
            for chunk in message.chunks:
                connection.received += len(chunk.run_ids) // ID_BYTES
                if connection.received > connection.granted:
                    counts = (connection.received, connection.granted)
                    self._world.note("overdrawn", who=connection.node.name, value=counts)

    def _reachable(self) -> None:
        """Note which clients cannot be heard for nearly their lease."""
        world = self._world
        if world.over:
            return
        now, server = world.loop.time(), world.server
        serves = server is not None and server.ready and not server.node.paused
        for name, client in world.clients.items():
            link = world.net.link(name)
            clear = not (link.slow or link.troubled_since is not None)
            if serves and clear and client.node.alive and not client.node.paused:
                continue
            since, last = self._away.get(name, (now, now))
            if now - last > TOGETHER_SECONDS:
                since = now
            self._away[name] = (since, now)
            if now - since >= NEARLY * world.plan.lease and client.node.alive and hasattr(client, "session"):
                world.note("away", who=client.id)
                self._away[name] = (now + world.plan.lease, now)  # once is enough for a while
        world.loop.later(LOOK_SECONDS, self._reachable)

    def look(self) -> bool:
        """Compare both sides of the world, which is whole; returns whether everything rests."""
        world = self._world
        server = world.server
        if server is None or not server.ready:
            return False
        differences: dict[tuple[str, str, int], None] = {}
        for agent in server.owner.agents:
            self._compare(agent, differences)
        self._starved(server.owner, differences)
        now = world.loop.time()
        self._since = {each: self._since.get(each, now) for each in differences}
        for (kind, run, epoch), since in self._since.items():
            if now - since >= PERSISTS_SECONDS:
                world.note(kind, run, epoch, value=since)
                self.hopeless = True
        return not differences and self._rests(server.owner)

    def _compare(self, agent: Any, differences: dict[tuple[str, str, int], None]) -> None:
        node = self._world.agents.get(agent.agent_id)
        if node is None or node.session_id != agent.session_id or not agent.connected or not node.node.alive:
            return
        believed = {(run_id, run.epoch) for run_id, run in agent.held.items()}
        real = node.held()
        for kind, keys in (("ghost", believed - real), ("stray", real - believed)):
            for run_id, epoch in sorted(keys):
                differences[kind, run_id.hex(), epoch] = None

    def _starved(self, owner: Any, differences: dict[tuple[str, str, int], None]) -> None:
        if any(agent.credit > 0 for agent in owner.agents):
            for run in owner.shard.book.runs.values():
                if run.state == RunState.READY:
                    differences["starved", run.run_id.hex(), run.epoch] = None

    def _rests(self, owner: Any) -> bool:
        world = self._world
        if owner.open_count() or owner.backlog_count():
            return False
        if any(client.outstanding() or client.busy for client in world.clients.values()):
            return False
        return all(agent.node.alive and agent.idle for agent in world.agents.values())

    def at_end(self, resting: bool) -> None:
        """Note what has not come to rest, unless it is known already why nothing will."""
        world = self._world
        if resting or self.hopeless:
            return
        server = world.server
        if server is None or not server.ready:
            world.note("fatal", who="server", value="no server is up in the end")
            return
        for run in server.owner.shard.book.runs.values():
            world.note("open", run.run_id.hex(), run.epoch, value=RunState(run.state).name)
        for client in world.clients.values():
            for run_id in client.outstanding():
                world.note("waiting", run_id.hex(), who=client.id)
            if client.busy:
                world.note("waiting", who=client.id)
        for agent in world.agents.values():
            if not agent.idle:
                world.note("waiting", who=agent.session)

    def finish(self) -> None:
        """Note what the database says in the end."""
        for run_id, state, result in self._world.database.rows(
            "SELECT run_id, state, result FROM run ORDER BY seq"
        ):
            self._world.note("final", run_id.hex(), value=(state, result))
