"""Clients of a shard: their sessions are opened, resumed and lost, and their frames applied.

This is what the RPC layer talks to on behalf of clients.
"""

from collections.abc import Iterable
from typing import Final

from taskyard_api.v1 import session_service_pb2
from taskyard_contract.clock import Clock
from taskyard_contract.errors import InvalidRequest, RunNotFound
from taskyard_contract.ids import ID_BYTES, format_id
from taskyard_contract.states import RunKind, RunState, StateReason
from taskyard_contract.versions import VERSION
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import AGENT, SESSION, Run
from taskyard_controlplane.owner.peers.client_session import HIGHEST_LEVEL, ClientSession
from taskyard_controlplane.owner.peers.peer import Caller, Close, Wake
from taskyard_controlplane.owner.queueing.checks import check_blobs
from taskyard_controlplane.owner.serving.leases import LeaseTimes
from taskyard_controlplane.owner.serving.protocol import agreed_protocol
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import StoredRun

MAX_UNACKED_BATCHES: Final = 8
"""How many batches a client may have under way: enough to keep the writer busy, few enough that all of them
can be sent again after a lost stream."""


class Clients:
    """The sessions of a shard."""

    def __init__(self, shard: Shard, times: LeaseTimes, clock: Clock, max_payload_bytes: int) -> None:
        """Connect clients to `shard`."""
        self._shard = shard
        self._times = times
        self._clock = clock
        self._max_payload = max_payload_bytes

    def open(
        self, hello: session_service_pb2.SessionHello, caller: Caller, wake: Wake, close: Close
    ) -> tuple[ClientSession, session_service_pb2.SessionWelcome]:
        """Open a session, or attach a new stream to one.

        Raises:
            UnsupportedProtocol: No protocol version in common.
            InvalidRequest: The session id is malformed.
        """
        protocol = agreed_protocol(hello.protocol_min, hello.protocol_max, "client")
        if len(hello.session_id) != ID_BYTES:
            raise InvalidRequest(f"a session id has {ID_BYTES} bytes, not {len(hello.session_id)}")
        session = self._shard.sessions.get(hello.session_id)
        resumed = session is not None
        if session is None:
            session = ClientSession(
                hello.session_id, hello.client_name, hello.parent_run_id, self._clock.monotonic()
            )
            self._shard.sessions[hello.session_id] = session
        else:
            session.supersede("a newer stream of the same session took over")
        session.attach(wake, close, caller)
        for flow in session.executing.values():
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

    def disconnected(self, session: ClientSession, wake: Wake) -> None:
        """Note that a session's stream is gone, unless a newer one has taken its place."""
        if session.wake is wake:
            session.lose_stream(self._clock.monotonic())

    async def receive(self, session: ClientSession, frame: session_service_pb2.ClientFrame) -> None:
        """Apply a frame of a client.

        Raises:
            TaskyardError: The frame is malformed; the stream must end.
        """
        shard = self._shard
        if frame.HasField("submit"):
            if frame.submit.blobs:
                await check_blobs(frame.submit.blobs, self._max_payload)
            if frame.submit.resend:
                await self._resubmit(session, frame.submit)
            else:
                session.refused_since = None  # what is resent comes before what is new
                shard.submission.submit(session, frame.submit)
        if frame.flow_reports:
            for report in frame.flow_reports:
                if not shard.flows.report(session, report):
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
            self.lost(session)

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
        shard.submission.submit(session, batch, frozenset(known))
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
                if run.template.executor == SESSION:
                    session.executing[run_id] = run

    def _deliver(self, session: ClientSession, rows: list[StoredRun]) -> None:
        for row in rows:
            run = self._shard.runs.get(row.run_id)
            if run is not None:
                run.session = session  # it was loaded, or resubmitted, while the database was asked
            elif row.state < RunState.COMPLETED:
                self._shard.stored.subscribe_later(row, session)
            elif self._shard.templates.by_id(row.template_id).executor == AGENT:
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

    def lost(self, session: ClientSession) -> None:
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
