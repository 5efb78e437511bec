"""Looks at both sides of the world at once, which nobody inside it can, and writes down where they disagree.

What is on its way makes sides differ for moments; what differs for longer than that is an error.
"""

from typing import Any, Final

from simulation.net import UP, host_of
from simulation.store import result_of
from taskyard_agent.processes.worker_phase import LEFT
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
        world.loop.later(LOOK_SECONDS, self._glance)

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

    def _glance(self) -> None:
        """Look at what has to be seen while it happens."""
        world = self._world
        if world.over:
            return
        self._reachable()
        self._count_processes()
        world.loop.later(LOOK_SECONDS, self._glance)

    def _reachable(self) -> None:
        """Note which programs cannot be heard for nearly their lease."""
        world = self._world
        now, server = world.loop.time(), world.server
        serves = server is not None and server.ready and not server.node.paused
        for node, program in world.programs():
            link = world.net.link(host_of(node))
            clear = not (link.slow or link.troubled_since is not None or link.leads_to(world.rivals))
            if serves and clear and not node.paused:
                continue
            name = host_of(node) if program is None else program.id
            since, last = self._away.get(name, (now, now))
            if now - last > TOGETHER_SECONDS:
                since = now
            self._away[name] = (since, now)
            if now - since >= NEARLY * world.plan.lease and program is not None:
                world.note("away", who=program.id)
                self._away[name] = (now + world.plan.lease, now)  # once is enough for a while

    def _count_processes(self) -> None:
        """Note which agents have more workers than they may."""
        for agent in self._world.agents.values():
            if not agent.node.alive or not hasattr(agent, "pool"):
                continue
            workers = agent.pool.workforce.workers.values()
            count, most = (
                sum(each.phase not in LEFT for each in workers),
                agent.slots + agent.most_waiting + 1,
            )
            if count > most:
                self._world.note("crowded", who=agent.session, value=(count, most))

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
        self._leaderless(server.owner, differences)
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
        nested_only = [agent.nested_only for agent in owner.agents if agent.credit > 0]
        if nested_only:
            for run in owner.shard.book.runs.values():
                if run.state == RunState.READY and (run.waited_for_by or not all(nested_only)):
                    differences["starved", run.run_id.hex(), run.epoch] = None

    def _leaderless(self, owner: Any, differences: dict[tuple[str, str, int], None]) -> None:
        for run in owner.shard.book.runs.values():
            if run.state == RunState.AWAITING_CACHE:
                leader = next(iter(owner.shard.cache.flight(run.cache_key)), None)
                if leader is None or leader.ended or leader.state == RunState.AWAITING_CACHE:
                    differences["leaderless", run.run_id.hex(), run.epoch] = None

    def _rests(self, owner: Any) -> bool:
        world = self._world
        if owner.open_count() or owner.backlog_count():
            return False
        if any(client.busy for client in world.clients.values()):
            return False
        if any(program is not None and program.outstanding() for _, program in world.programs()):
            return False
        if any(rival.node.alive for rival in world.rivals):
            return False
        if any(each.executing is not None for each in world.processes.values()):
            return False  # even one whose agent has been replaced ends what nobody knows of
        return all(agent.node.alive and agent.idle for agent in world.agents.values())

    def at_end(self, resting: bool) -> None:
        """Note what has not come to rest, unless it is known already why nothing will."""
        world = self._world
        if resting or self.hopeless:
            return
        self._executing()
        server = world.server
        if server is None or not server.ready:
            world.note("fatal", who="server", value="no server is up in the end")
            return
        for run in server.owner.shard.book.runs.values():
            world.note("open", run.run_id.hex(), run.epoch, value=RunState(run.state).name)
        for _, program in world.programs():
            for run_id in program.outstanding() if program is not None else ():
                world.note("waiting", run_id.hex(), who=program.id)
        for client in world.clients.values():
            if client.busy:
                world.note("waiting", who=client.id)
        for agent in world.agents.values():
            if not agent.idle:
                world.note("waiting", who=agent.session)
        for rival in world.rivals:
            if rival.node.alive:
                world.note("fatal", who=rival.node.name, value="it goes on although it was superseded")

    def _executing(self) -> None:
        """Note which processes are still at something: when nothing else is, nobody knows of that."""
        for worker in self._world.processes.values():
            if worker.executing is not None:
                run, epoch = worker.executing
                self._world.note("executing", run, epoch, worker.node.name)

    def finish(self) -> None:
        """Note what is said in the end, by the server and by the database."""
        server = self._world.server
        if server is not None and server.node.alive:
            server.tell_dropped()
        rows = self._world.database.rows("SELECT run_id, state, result, outcome FROM run ORDER BY seq")
        for run_id, state, result, outcome in rows:
            self._world.note("final", run_id.hex(), value=(state, result_of(result, outcome)))
        for seq, run_id, state in self._world.database.rows(
            "SELECT seq, run_id, ended_badly.state FROM ended_badly LEFT JOIN run USING (seq) ORDER BY seq"
        ):
            self._world.note("listed", run_id.hex() if run_id else f"number {seq}", value=state)
