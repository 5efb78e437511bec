"""Who is connected to a shard: sessions and agents come, are resumed, are superseded and get lost.

This is what the RPC layer talks to.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from taskyard_api.v1 import agent_service_pb2, session_service_pb2
from taskyard_contract.clock import Clock
from taskyard_contract.errors import (
    AgentNotFound,
    InvalidRequest,
    RunNotFound,
    Superseded,
    TaskyardError,
    UnknownSession,
    UnsupportedProtocol,
)
from taskyard_contract.ids import ID_BYTES, format_id
from taskyard_contract.states import RunKind, RunState, StateReason
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION, negotiate
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import accepts_epoch
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import HIGHEST_LEVEL, ClientSession
from taskyard_controlplane.owner.serving.leases import Leases, LeaseTimes
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import StoredRun

log = logging.getLogger(__name__)

Wake = Callable[[], None]
Close = Callable[[TaskyardError], None]

RESTATE_SECONDS: Final = 2.0
MAX_UNACKED_BATCHES: Final = 8


class Connections:
    """The sessions and agents of a shard."""

    def __init__(self, shard: Shard, times: LeaseTimes, clock: Clock, max_payload_bytes: int) -> None:
        """Connect clients and agents to `shard`."""
        self._shard = shard
        self._times = times
        self._clock = clock
        self._max_payload = max_payload_bytes
        self.leases = Leases(
            times,
            shard.timers,
            clock,
            shard.committer,
            shard.agents_by_id.values,
            shard.sessions.values,
            self.agent_lost,
            self.session_lost,
        )

    @property
    def agent_lease(self) -> float:
        """For how long the silence of an agent is tolerated, in seconds."""
        return self._times.agent_lease

    def begin_stop(self, after_ms: int = 500) -> None:
        """Tell everybody to reconnect, because this server stops."""
        for session in self._shard.sessions.values():
            session.reconnect(after_ms)
        for agent in self._shard.agents:
            agent.reconnect(after_ms)

    # Sessions.

    def open_session(
        self, hello: session_service_pb2.SessionHello, wake: Wake, close: Close
    ) -> tuple[ClientSession, session_service_pb2.SessionWelcome]:
        """Open a session, or attach a new stream to one.

        Raises:
            UnsupportedProtocol: No protocol version in common.
            InvalidRequest: The session id is malformed.
        """
        protocol = _protocol(hello.protocol_min, hello.protocol_max, "client")
        if len(hello.session_id) != ID_BYTES:
            raise InvalidRequest(f"a session id has {ID_BYTES} bytes, not {len(hello.session_id)}")
        session = self._shard.sessions.get(hello.session_id)
        resumed = session is not None
        if session is None:
            session = ClientSession(
                hello.session_id, hello.client_name, hello.parent_run_id, self._clock.monotonic()
            )
            self._shard.sessions[hello.session_id] = session
        elif session.close is not None:
            session.close(Superseded("a newer stream of the same session took over"))
        session.attach(wake, close)
        for flow in session.flows.values():
            if flow.state == RunState.CANCELLING:
                session.request_cancel(flow.run_id)  # the request may have been lost with the old stream
        welcome = session_service_pb2.SessionWelcome(
            protocol=protocol,
            lease_ms=round(self._times.session_lease * 1000),
            heartbeat_ms=round(self._times.session_heartbeat * 1000),
            max_inline_bytes=self._shard.max_inline_bytes,
            max_payload_bytes=self._max_payload,
            max_unacked_batches=MAX_UNACKED_BATCHES,
            server_version=VERSION,
            resumed=resumed,
        )
        return session, welcome

    def session_disconnected(self, session: ClientSession, wake: Wake) -> None:
        """Note that a session's stream is gone, unless a newer one has taken its place."""
        if session.wake is wake:
            session.detach(self._clock.monotonic())

    async def session_frame(self, session: ClientSession, frame: session_service_pb2.ClientFrame) -> None:
        """Apply a frame of a client.

        Raises:
            TaskyardError: The frame is malformed; the stream must end.
        """
        shard = self._shard
        if frame.HasField("submit"):
            if frame.submit.resend:
                await self._resubmit(session, frame.submit)
            else:
                session.refused_since = None  # what is resent comes before what is new
                shard.submission.take(session, frame.submit)
        if frame.flow_reports:
            for report in frame.flow_reports:
                if not shard.flows.take(session, report):
                    await self._late_report(session, report.run_id)
        if frame.subscribe:
            await self._subscribe(session, list(frame.subscribe))
        if frame.cancel:
            found = await self._open_runs(list(frame.cancel))
            shard.flows.cancel(found, "cancellation was requested")
        if frame.withdraw:
            shard.flows.withdraw(await self._open_runs(list(frame.withdraw)))
        if frame.HasField("logs"):
            self._keep_logs(frame.logs)
        if frame.goodbye:
            self.session_lost(session)

    async def _resubmit(self, session: ClientSession, batch: session_service_pb2.SubmitBatch) -> None:
        """Apply a batch that may have been accepted before the stream broke."""
        shard = self._shard
        ids = [run_id for group in batch.groups for run_id in group.run_ids]
        unknown = [run_id for run_id in ids if run_id not in shard.runs]
        rows = await shard.stored.rows(unknown)
        known = {row.run_id for row in rows} | (set(ids) - set(unknown))
        self._adopt(session, known)
        # A run refused on this very stream stays refused, though its batch was under way once more.
        known |= session.refused_since or set()
        shard.submission.take(session, batch, frozenset(known))
        self._deliver(session, rows)

    async def _subscribe(self, session: ClientSession, run_ids: list[bytes]) -> None:
        shard = self._shard
        self._adopt(session, run_ids)
        unknown = [run_id for run_id in run_ids if run_id not in shard.runs]
        if not unknown:
            return
        rows = await shard.stored.rows(unknown)
        self._adopt(session, unknown)  # those that were submitted meanwhile
        found = {row.run_id for row in rows}
        for run_id in unknown:
            if run_id not in found and run_id not in shard.runs:
                session.refuse(run_id, RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id))
        self._deliver(session, rows)

    def _adopt(self, session: ClientSession, run_ids: "list[bytes] | set[bytes]") -> None:
        for run_id in run_ids:
            run = self._shard.runs.get(run_id)
            if run is not None:
                run.session = session
                if run.template.kind == RunKind.FLOW:
                    session.flows[run_id] = run

    def _deliver(self, session: ClientSession, rows: list[StoredRun]) -> None:
        for row in rows:
            run = self._shard.runs.get(row.run_id)
            if run is not None:
                run.session = session  # it was loaded, or resubmitted, while the database was asked
            elif row.state < RunState.COMPLETED:
                self._shard.stored.subscribe_later(row, session)
            elif row.state >= RunState.COMPLETED and row.kind == RunKind.TASK:
                session.push_result(row.run_id, row.result, row.outcome)
        session.wake()

    async def _late_report(self, session: ClientSession, run_id: bytes) -> None:
        """Answer a report about a flow run that has ended: its recorded state stands."""
        try:
            run = await self._shard.stored.find(run_id)
        except RunNotFound as error:
            session.refuse(run_id, error)
            session.wake()
            return
        session.decide(
            session_service_pb2.FlowDecision(
                run_id=run_id,
                state=run.state,  # type: ignore[arg-type]  # the enums are numerically equal
                attempt=run.attempt,
            )
        )
        session.wake()

    async def _open_runs(self, run_ids: list[bytes]) -> list[Run]:
        """Return those of some runs that are open, loading them from the backlog if need be, to be ended."""
        shard = self._shard
        unknown = [run_id for run_id in run_ids if run_id not in shard.runs]
        if unknown:
            shard.stored.load(await shard.stored.rows(unknown))
        return [shard.runs[run_id] for run_id in run_ids if run_id in shard.runs]

    def _keep_logs(self, logs: session_service_pb2.LogBatch) -> None:
        rows = self._shard.committer.open.rows.logs
        for run_id, at_us, level, logger, message in zip(
            logs.run_ids, logs.at_us, logs.levels, logs.loggers, logs.messages, strict=False
        ):
            run = self._shard.runs.get(run_id)
            if run is not None:
                flow_seq = run.seq if run.template.kind == RunKind.FLOW else run.flow and run.flow.seq
                rows.append((run.seq, flow_seq, at_us, min(level, HIGHEST_LEVEL), logger, message))
        self._shard.committer.touch()

    def session_lost(self, session: ClientSession) -> None:
        """End a session: its open flow runs crash, its runs that have not started are cancelled."""
        shard = self._shard
        message = f"the process that owned it ({session.name}) is gone"
        stream = session.wake

        def end(runs: Iterable[Run]) -> None:
            for run in runs:
                shard.settling.apply(
                    run, RunEvent.SESSION_LOST, reason=StateReason.SESSION_LOST, message=message
                )

        def forget(runs: Iterable[Run]) -> None:
            end(runs)
            resumed = session.connected and session.wake is not stream
            if shard.sessions.get(session.session_id) is session and not resumed:
                del shard.sessions[session.session_id]

        end([run for run in shard.runs.values() if run.session is session])
        if shard.backlog.count():
            shard.stored.read(lambda: shard.store.backlog_of_session(session.session_id), forget)
        else:
            forget([])

    # Agents.

    def open_agent(
        self, hello: agent_service_pb2.AgentHello, wake: Wake, close: Close
    ) -> tuple[AgentSession, agent_service_pb2.AgentWelcome]:
        """Open an agent's session, or attach a new stream to it.

        Raises:
            UnsupportedProtocol: No protocol version in common.
            InvalidRequest: The agent has no id or serves no queue.
        """
        protocol = _protocol(hello.protocol_min, hello.protocol_max, f"agent '{hello.name}'")
        if not hello.agent_id or not hello.session_id:
            raise InvalidRequest("an agent's hello needs an agent id and a session id")
        if not hello.queues:
            raise InvalidRequest(f"agent '{hello.name}' serves no queue; name at least one")
        shard = self._shard
        agent = shard.agents_by_id.get(hello.agent_id)
        if agent is not None and agent.session_id != hello.session_id:
            self._supersede(agent)
            agent = None
        elif agent is not None and agent.close is not None:
            agent.close(Superseded("a newer stream of the same agent took over"))
        now = self._clock.monotonic()
        if agent is None:
            agent = AgentSession(hello, now, self._clock.now_us())
            shard.agents_by_id[hello.agent_id] = agent
        agent.last_seen, agent.last_seen_us = now, self._clock.now_us()
        agent.attach(wake, close)
        shard.dispatcher.add(agent)
        welcome = agent_service_pb2.AgentWelcome(
            protocol=protocol,
            lease_ms=round(self._times.agent_lease * 1000),
            heartbeat_ms=round(self._times.agent_heartbeat * 1000),
            max_inline_bytes=shard.max_inline_bytes,
            max_payload_bytes=self._max_payload,
            server_version=VERSION,
        )
        self._reconcile(agent, hello, welcome)
        return agent, welcome

    def _supersede(self, agent: AgentSession) -> None:
        if agent.close is not None:
            agent.close(Superseded(f"another process took over as agent '{agent.name}'"))
        self.agent_lost(agent)

    def _reconcile(
        self,
        agent: AgentSession,
        hello: agent_service_pb2.AgentHello,
        welcome: agent_service_pb2.AgentWelcome,
    ) -> None:
        """Decide about every run the agent says it holds, and about those it no longer mentions."""
        shard = self._shard
        restated: set[bytes] = set()
        adopted: list[Run] = []
        for key in hello.held:
            run = shard.runs.get(key.run_id)
            if run is None or not accepts_epoch(run, key.epoch, shard.generation):
                welcome.drop.add(run_id=key.run_id, epoch=key.epoch)
                continue
            if not shard.reporting.adopt(agent, run, key.epoch):
                welcome.drop.add(run_id=key.run_id, epoch=key.epoch)
                continue
            restated.add(key.run_id)
            if run.dispatch is None:
                adopted.append(run)
            shard.metrics.adopted_runs += 1
            welcome.adopt.add(run_id=key.run_id, epoch=key.epoch)
            if run.state == RunState.CANCELLING:
                agent.cancel(run)  # what is dropped ends in silence, and this end is waited for
        if adopted:
            shard.dispatcher.record(agent, adopted)  # the rows of an earlier owner are about to go
        assigned = [*agent.held.values(), *shard.orphans.pop(agent.agent_id, ())]
        missing = [(run, run.epoch) for run in assigned if run.run_id not in restated]
        if missing:
            # Their reports may be on the way: what the agent finished comes right behind its hello.
            shard.timers.after(RESTATE_SECONDS, lambda: self._lost(agent, missing))

    def _lost(self, agent: AgentSession, runs: list[tuple[Run, int]]) -> None:
        for run, epoch in runs:
            if run.epoch == epoch and run.agent in (None, agent):
                self._shard.settling.apply(
                    run,
                    RunEvent.LOST,
                    reason=StateReason.AGENT_LOST,
                    message=f"agent '{agent.name}' no longer knows the run",
                )

    def agent_disconnected(self, agent: AgentSession, wake: Wake) -> None:
        """Note that an agent's stream is gone, unless a newer one has taken its place."""
        if agent.wake is not wake:
            return
        agent.detach()
        if agent.draining and not (agent.asked_to_drain or agent.held):
            self._forget(agent)

    def agent_frame(self, agent: AgentSession, frame: agent_service_pb2.AgentFrame) -> None:
        """Apply a frame of an agent.

        Raises:
            TaskyardError: The frame is malformed; the stream must end.
        """
        agent.last_seen, agent.last_seen_us = self._clock.monotonic(), self._clock.now_us()
        shard = self._shard
        shard.reporting.take(agent, frame)
        if frame.draining:
            agent.draining, agent.asked_to_drain = True, False
        if frame.heartbeat:
            agent.answer_heartbeat(frame.heartbeat)
            agent.wake()
        if frame.HasField("credit"):
            agent.granted = frame.credit.granted_total
            agent.chunk_size = frame.credit.chunk_size
            agent.nested_only = frame.credit.nested_only
            shard.dispatcher.pump()

    async def agent_report(self, agent: AgentSession, frame: agent_service_pb2.AgentFrame) -> None:
        """Apply a frame of an agent and return when everything in it is durable.

        Raises:
            TaskyardError: The frame is malformed, or this process lost the database.
        """
        self.agent_frame(agent, frame)
        await self._shard.committer.durable()

    def why_unknown(self, agent_id: str, session_id: bytes) -> TaskyardError:
        """Return what to tell an agent whose session is attached to nothing it could call."""
        agent = self._shard.agents_by_id.get(agent_id)
        if agent is not None and (agent.connected or agent.session_id != session_id):
            return Superseded(f"another process, or a stream, took over as agent '{agent.name}'")
        return UnknownSession("the server was restarted, or the lease has lapsed; say hello again")

    def agent_lost(self, agent: AgentSession) -> None:
        """End an agent's session: what it held is lost."""
        self._shard.metrics.leases_expired += 1
        log.warning(
            "agent '%s' is lost with %d runs", agent.name, len(agent.held), extra={"event": "agent_lost"}
        )
        if agent.close is not None:
            agent.close(UnknownSession(f"the lease of agent '{agent.name}' has lapsed; say hello again"))
        for run in list(agent.held.values()):
            self._shard.settling.apply(
                run,
                RunEvent.LOST,
                reason=StateReason.AGENT_LOST,
                message=f"agent '{agent.name}' was lost while it held the run",
            )
        self._forget(agent)

    def _forget(self, agent: AgentSession) -> None:
        self._shard.dispatcher.remove(agent)
        if self._shard.agents_by_id.get(agent.agent_id) is agent:
            del self._shard.agents_by_id[agent.agent_id]

    def drain_agent(self, agent_id: str) -> int:
        """Ask an agent to drain; returns how many runs it holds.

        Raises:
            AgentNotFound: No such agent is connected.
        """
        agent = self._shard.agents_by_id.get(agent_id)
        if agent is None or not agent.connected:
            raise AgentNotFound(f"no agent '{agent_id}' is connected")
        agent.drain()
        return len(agent.held)


def _protocol(peer_min: int, peer_max: int, who: str) -> int:
    protocol = negotiate(peer_min, peer_max)
    if protocol is None:
        raise UnsupportedProtocol(
            f"the {who} speaks protocol versions {peer_min} to {peer_max}, this server "
            f"{PROTOCOL_MIN} to {PROTOCOL_MAX}; upgrade the older one"
        )
    return protocol
