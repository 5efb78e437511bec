"""Agents of a shard: they come, restate what they hold and get lost, and their frames are applied.

This is what the RPC layer talks to on behalf of agents.
"""

import logging

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.capabilities import COROUTINES, OWN_SESSION, SERVED_TASKS
from taskyard_contract.clock import Clock
from taskyard_contract.errors import (
    AgentNotFound,
    InvalidRequest,
    Superseded,
    TaskyardError,
    UnknownSession,
)
from taskyard_contract.states import StateReason
from taskyard_contract.versions import VERSION
from taskyard_contract.wire_text import NAME_LIMIT, cut
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.peer import Caller, Close, Wake
from taskyard_controlplane.owner.queueing.checks import check_id
from taskyard_controlplane.owner.rules.cancelling import NOBODY_SAYS, Wish
from taskyard_controlplane.owner.serving import twins
from taskyard_controlplane.owner.serving.announcements import limits_of, owned_here
from taskyard_controlplane.owner.serving.restating import Restating
from taskyard_controlplane.owner.serving.terms import Terms, agreed_protocol, milliseconds
from taskyard_controlplane.owner.shard.shard import Shard

log = logging.getLogger(__name__)


class Agents:
    """Opens, feeds and gives up the sessions of a shard's agents."""

    def __init__(self, shard: Shard, terms: Terms, clock: Clock, metrics: Metrics) -> None:
        """Connect agents to `shard`, on the server's `terms`."""
        self._terms = terms
        self._clock = clock
        self._metrics = metrics
        self._roster = shard.roster
        self._agents = shard.roster.agents
        self._log_marks = shard.roster.log_marks
        self._committer = shard.committer
        self._logs = shard.logs
        self._timers = shard.timers
        self._settling = shard.settling
        self._reporting = shard.reporting
        self._dispatcher = shard.dispatcher
        self._restating = Restating(shard, metrics)

    @property
    def lease(self) -> float:
        """For how long the silence of an agent is tolerated, in seconds."""
        return self._terms.times.agent_lease

    @property
    def most_wait(self) -> float:
        """For how long a call may wait for something to do, in seconds."""
        return self._terms.max_wait_seconds

    def open(
        self, hello: pb.AgentHello, caller: Caller, wake: Wake, close: Close
    ) -> tuple[AgentSession, pb.AgentWelcome]:
        """Open an agent's session, or attach a new stream to it.

        Raises:
            UnsupportedProtocol: No protocol version in common.
            InvalidRequest: The agent has no id or serves no queue.
            AgentExists: Another process is connected as this agent.
            StreamReplaced: The process has opened a newer stream meanwhile.
            Overloaded: There are too many agents.
        """
        protocol = agreed_protocol(hello.protocol_min, hello.protocol_max, f"agent '{hello.name}'")
        if not hello.agent_id or not hello.session_id:
            raise InvalidRequest("an agent's hello needs an agent id and a session id")
        if hello.own_session_id:
            check_id(hello.own_session_id, "own_session_id of an agent's hello")
        if not hello.queues:
            raise InvalidRequest(f"agent '{hello.name}' serves no queue; name at least one")
        now = self._clock.monotonic()
        agent = self._known(hello, now)
        if agent is None:
            self._roster.check_agent(caller)
            agent = AgentSession(hello, now, self._clock.now_us())
            # What an earlier owner stored of its reports is their log records, and nothing else.
            agent.logged_up_to = self._log_marks.of(hello.session_id)
            self._agents[hello.agent_id] = agent
        agent.replace_stream(hello.stream_number)
        agent.last_seen, agent.last_seen_us = now, self._clock.now_us()
        agent.coroutines = hello.coroutines
        agent.attach(wake, close, caller)
        self._dispatcher.add(agent)
        welcome = self._welcome(protocol)
        self._restating.reconcile(agent, hello, welcome)
        return agent, welcome

    def _welcome(self, protocol: int) -> pb.AgentWelcome:
        terms = self._terms
        return pb.AgentWelcome(
            protocol=protocol,
            lease_ms=milliseconds(terms.times.agent_lease),
            heartbeat_ms=milliseconds(terms.times.agent_heartbeat),
            max_inline_bytes=terms.max_inline_bytes,
            max_payload_bytes=terms.max_payload_bytes,
            server_version=VERSION,
            limits=limits_of(terms),
            owners=owned_here(),
            capabilities=[COROUTINES, OWN_SESSION, SERVED_TASKS],
            blob_directory=terms.blob_directory(),
        )

    def _known(self, hello: pb.AgentHello, now: float) -> AgentSession | None:
        """Return the session that a hello goes on with; None when it begins one.

        Raises:
            AgentExists: Another process has the name and is connected.
        """
        agent = self._agents.get(hello.agent_id)
        if agent is None or agent.session_id == hello.session_id:
            return agent
        if agent.connected and not agent.away:
            raise twins.refusal(agent, hello.session_id, now)
        agent.end_stream(Superseded(f"another process took the place of agent '{agent.name}'"))
        self._give_up(agent, f"another process took the place of agent '{agent.name}'")
        return None

    def disconnected(self, agent: AgentSession, wake: Wake) -> None:
        """Note that an agent's stream is gone, unless a newer one has taken its place."""
        if agent.wake is not wake:
            return
        agent.detach()
        if agent.draining and not (agent.asked_to_drain or agent.held or agent.may_still_report):
            self._forget(agent)

    def receive(self, agent: AgentSession, frame: pb.AgentFrame) -> None:
        """Apply a frame of an agent.

        Raises:
            TaskyardError: The frame is malformed; the stream must end.
        """
        agent.last_seen, agent.last_seen_us = self._clock.monotonic(), self._clock.now_us()
        self._reporting.report(agent, frame)
        if frame.draining:
            agent.draining, agent.asked_to_drain = True, False
        if frame.HasField("condition"):
            agent.condition = cut(frame.condition, NAME_LIMIT)
        if frame.HasField("memory"):
            agent.memory = frame.memory.used_bytes, frame.memory.total_bytes
        if frame.HasField("keeps_blob_bytes"):
            self._roster.kept_values.said(agent, frame.keeps_blob_bytes)
        if frame.heartbeat:
            agent.answer_heartbeat(frame.heartbeat)
            agent.wake()
        if frame.HasField("credit"):
            agent.granted = frame.credit.granted_total
            agent.chunk_size = frame.credit.chunk_size
            agent.nested_only = frame.credit.nested_only
            agent.nested_only_shares = frozenset(frame.credit.nested_only_shares)
            agent.apart.granted = frame.credit.coroutines_granted_total
            agent.apart.chunk_size = frame.credit.coroutines_chunk_size
            agent.apart.nested_only = frame.credit.coroutines_nested_only
            agent.apart.nested_only_shares = frozenset(frame.credit.coroutines_nested_only_shares)
            self._dispatcher.pump()

    async def receive_durably(self, agent: AgentSession, frame: pb.AgentFrame) -> None:
        """Apply a frame of an agent and return when everything in it is durable.

        Raises:
            TaskyardError: The frame is malformed, or this process lost the database.
        """
        self.receive(agent, frame)
        await self._committer.durable()
        await self._logs.settled()

    def why_unknown(self, agent_id: str, session_id: bytes) -> TaskyardError:
        """Return what to tell an agent whose session is attached to nothing it could call."""
        agent = self._agents.get(agent_id)
        if agent is not None and (agent.connected or agent.session_id != session_id):
            return Superseded(f"another process, or a stream, took over as agent '{agent.name}'")
        return UnknownSession("the server was restarted, or the lease has lapsed; say hello again")

    def lost(self, agent: AgentSession) -> None:
        """End an agent's session: what it held is lost."""
        self._metrics.leases_expired += 1
        log.warning(
            "agent '%s' is lost with %d runs", agent.name, len(agent.held), extra={"event": "agent_lost"}
        )
        agent.end_stream(UnknownSession(f"the lease of agent '{agent.name}' has lapsed; say hello again"))
        self._give_up(agent, f"agent '{agent.name}' was lost while it held the run")

    def _give_up(self, agent: AgentSession, message: str) -> None:
        """Forget an agent that nothing is to be heard of any more, and what it had not reported."""
        for run in list(agent.held.values()):
            self._settling.apply(run, RunEvent.AGENT_LOST, reason=StateReason.AGENT_LOST, message=message)
        self._forget(agent)

    def _forget(self, agent: AgentSession) -> None:
        for timer in agent.restating:
            timer.fire_early()  # nobody is left who could still report what was not restated
        agent.restating.clear()
        self._dispatcher.remove(agent)
        if self._agents.get(agent.agent_id) is agent:
            del self._agents[agent.agent_id]

    def drain(self, agent_id: str, wish: Wish = NOBODY_SAYS) -> int:
        """Ask an agent to drain; returns how many runs it holds.

        Raises:
            AgentNotFound: No such agent is connected.
        """
        agent = self._agents.get(agent_id)
        if agent is None or not agent.connected:
            raise AgentNotFound(f"no agent '{agent_id}' is connected")
        log.info(
            "agent '%s' is to drain, with %d runs: %s",
            agent.name,
            len(agent.held),
            wish.told("asked to", "nobody said why"),
            extra={"event": "agent_drains"},
        )
        agent.drain()
        return len(agent.held)
