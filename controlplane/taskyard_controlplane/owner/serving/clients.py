"""Clients of a shard: their sessions are opened, resumed and lost, and their frames applied.

This is what the RPC layer talks to on behalf of clients.
"""

from collections.abc import Iterable

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.capabilities import RECORDED_EDGES, ROLLBACKS
from taskyard_contract.clock import Clock
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import RunState
from taskyard_contract.versions import VERSION
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.peers.peer import Caller, Close, Wake
from taskyard_controlplane.owner.queueing.callers import Callers
from taskyard_controlplane.owner.queueing.checks import check_blobs, check_frame, check_id, submitted_before
from taskyard_controlplane.owner.rules.cancelling import Wish
from taskyard_controlplane.owner.serving.announcements import MAX_UNACKED_BATCHES, limits_of, owned_here
from taskyard_controlplane.owner.serving.crowd import Crowd
from taskyard_controlplane.owner.serving.subscriptions import Subscriptions
from taskyard_controlplane.owner.serving.terms import Terms, agreed_protocol, milliseconds
from taskyard_controlplane.owner.shard.shard import Shard


class Clients:
    """Opens, feeds and gives up the sessions of a shard's clients."""

    def __init__(self, shard: Shard, terms: Terms, clock: Clock, crowd: Crowd) -> None:
        """Connect clients to `shard`, on the server's `terms`.

        `crowd` says how much of a frame goes into one commit at the moment.
        """
        self._crowd = crowd
        self._terms = terms
        self._clock = clock
        self._roster = shard.roster
        self._sessions = shard.roster.sessions
        self._book = shard.book
        self._journal = shard.journal
        self._templates = shard.templates
        self._committer = shard.committer
        self._endings = shard.endings
        self._watchers = shard.watchers
        self._backlog = shard.backlog
        self._submission = shard.submission
        self._callers = Callers(shard.book, shard.stored, clock)
        self._flow_reports = shard.flow_reports
        self._saying = shard.saying
        self._cancelling = shard.cancelling
        self._dispatcher = shard.dispatcher
        self._timers = shard.timers
        shard.roster.worlds.on_awaited = self._await_program
        self._stored = shard.stored
        self._subscriptions = Subscriptions(shard.book, shard.stored, shard.watchers)

    def open(
        self, hello: pb.SessionHello, caller: Caller, wake: Wake, close: Close
    ) -> tuple[ClientSession, pb.SessionWelcome]:
        """Open a session, or attach a new stream to one.

        Raises:
            UnsupportedProtocol: No protocol version in common.
            InvalidRequest: The session id is malformed.
            Overloaded: There are too many sessions.
            StreamReplaced: The session has opened a newer stream meanwhile.
        """
        protocol = agreed_protocol(hello.protocol_min, hello.protocol_max, "client")
        if len(hello.session_id) != ID_BYTES:
            raise InvalidRequest(f"a session id has {ID_BYTES} bytes, not {len(hello.session_id)}")
        if hello.caller_run_id:
            check_id(hello.caller_run_id, "caller_run_id of a client's hello")
        session = self._sessions.get(hello.session_id)
        is_unknown = session is None
        if session is None:
            self._roster.check_session(caller)
            now = self._clock.monotonic()
            session = self._roster.new_session(hello.session_id, hello.client_name, hello.caller_run_id, now)
            session.may_be_in_backlog = hello.stream_number != 1
        else:
            # A session that was found after a restart is known by its id only.
            session.name, session.caller_run_id = hello.client_name, hello.caller_run_id
        is_new = is_unknown and hello.stream_number == 1
        session.sent_templates.opened(self._templates.next_id, is_new=is_new)
        session.says_ends = hello.says_ends
        session.replace_stream(hello.stream_number)
        session.attach(wake, close, caller)
        for run in session.executing.values():
            if run.state == RunState.CANCELLING:
                session.request_cancel(run.run_id)  # the request may have been lost with the old stream
        return session, self._welcome(protocol)

    def _welcome(self, protocol: int) -> pb.SessionWelcome:
        terms = self._terms
        return pb.SessionWelcome(
            protocol=protocol,
            lease_ms=milliseconds(terms.times.session_lease),
            heartbeat_ms=milliseconds(terms.times.session_heartbeat),
            max_inline_bytes=terms.max_inline_bytes,
            max_payload_bytes=terms.max_payload_bytes,
            max_unacked_batches=MAX_UNACKED_BATCHES,
            acknowledges_logs=True,
            server_version=VERSION,
            limits=limits_of(terms),
            owners=owned_here(),
            blob_directory=terms.blob_directory(),
            capabilities=[RECORDED_EDGES, ROLLBACKS],
        )

    def disconnected(self, session: ClientSession, wake: Wake) -> None:
        """Note that a session's stream is gone, unless a newer one has taken its place."""
        if session.wake is wake:
            session.lose_stream(self._clock.monotonic())

    async def receive(self, session: ClientSession, frame: pb.ClientFrame) -> None:
        """Apply a frame of a client.

        Raises:
            TaskyardError: The frame is malformed; the stream must end.
        """
        check_frame(frame)
        if frame.holds_from:
            session.holds_from = check_id(frame.holds_from, "holds_from")
        # Before runs that name them.
        if frame.worlds and self._roster.worlds.announce(session.session_id, frame.worlds):
            self._dispatcher.look_again()
        if frame.HasField("submit"):
            await self._submit(session, frame.submit)
        if frame.HasField("logs"):
            # Before what the same runs report: of a run that has ended nothing is recorded any more.
            self._keep_logs(session, frame.logs, frame.logs_number)
        for report in frame.flow_reports:
            if not self._flow_reports.report(session, report):
                await self._subscriptions.late_report(session, report.run_id)
        if frame.subscribe:
            await self._subscriptions.subscribe(session, frame.subscribe)
        if frame.cancel:  # asked first, because most frames end nothing, and an iteration is dear
            wish = Wish.of(frame.requested_by or session.name, frame.cancel_reason)
            async for runs in self._subscriptions.to_be_ended(session, frame.cancel):
                self._cancelling.request(runs, wish)
        if frame.withdraw:
            wish = Wish.of(frame.requested_by or session.name, frame.cancel_reason)
            async for runs in self._subscriptions.to_be_ended(session, frame.withdraw):
                self._cancelling.withdraw(runs, wish)
        if frame.goodbye:
            self.lost(session)

    async def _submit(self, session: ClientSession, batch: pb.SubmitBatch) -> None:
        if batch.blobs:
            await check_blobs(batch.blobs, self._terms.max_payload_bytes)
        if self._submission.ceilings.crowded(batch):
            await self._committer.durable()
        if batch.resend:
            known = await self._subscriptions.resent(session, batch)
        else:
            session.refused_since = None  # what is resent comes before what is new
            known = frozenset()
        if self._stored.may_be_gone(batch):
            known |= await self._refuse_gone(session, batch)
        portion = self._crowd.portion(session)
        needed = await self._submission.needed_by(session, batch, portion)
        if callers := await self._callers.of(session, batch):
            needed = needed._replace(callers=callers)
        for _ in self._submission.submit(session, batch, needed, known, portion):
            await self._committer.durable()

    async def _refuse_gone(self, session: ClientSession, batch: pb.SubmitBatch) -> frozenset[bytes]:
        """Refuse runs whose ids were those of runs that retention has removed; returns their ids."""
        gone = await self._stored.gone_among([run_id for group in batch.groups for run_id in group.run_ids])
        for run_id in gone:
            session.refuse(run_id, submitted_before(run_id))
            session.wake()
        return gone

    def _keep_logs(self, session: ClientSession, logs: pb.LogBatch, number: int) -> None:
        if number:
            if number <= session.logs_received:
                return  # repeated, because the acknowledgement was lost with a stream or a server
            session.logs_received = number
        self._saying.logs_of_flows(session, logs, number, self._clock.now_us())

    def lost(self, session: ClientSession) -> None:
        """End a session: what it executes crashes, its runs that have not started are cancelled.

        Runs to which it had only subscribed, because they belong to no session, go on without it.
        """
        if session in self._endings:
            return
        attachments = session.attachments

        def end(runs: Iterable[Run]) -> None:
            self._cancelling.end_with_session(session.name, runs)

        def forget() -> None:
            self._cancelling.all_ended_with_session()
            # One that came back has its lease; what it has submitted since may have to end with that.
            if self._sessions.get(session.session_id) is session and session.attachments == attachments:
                del self._sessions[session.session_id]
                self._watchers.leave(session)
                self._worlds_ended(session)

        owned = [run for run in self._book.of_session(session) if run.owned]
        queued = self._backlog.count() > 0 and session.may_be_in_backlog
        last_seq = self._submission.next_seq - 1 if queued else None
        self._endings.of_session(session, owned, last_seq, end, forget)

    def _worlds_ended(self, session: ClientSession) -> None:
        """Have agents let go of what they keep for a program."""
        ended = self._roster.worlds.leave(session.session_id)
        if ended:
            for agent in self._roster.agents.values():
                agent.worlds_ended(ended)

    def _await_program(self, key: tuple[bytes, int]) -> None:
        """Take a program as gone if it does not come within a lease: after a restart it may be."""

        def give_up() -> None:
            self._roster.worlds.give_up(key)
            self._dispatcher.look_again()

        self._timers.after(self._terms.times.session_lease, give_up, name="a program that has variables")
