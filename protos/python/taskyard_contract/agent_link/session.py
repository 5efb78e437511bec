"""The agent's side of the protocol as a machine without I/O, clock or asyncio.

How a link goes. Each stream begins with a hello, which names every run in hand, and a welcome, which says
which of them to drop, for how long the lease runs, and how often to beat. From then on frames go both ways:

    executor -> `Pending` -> numbered frame -> `Outbox` -> stream        until acknowledged
    stream -> `received` -> calls of the `LinkHandler`                   chunks, cancellations, drain

What can go wrong, and what then:

- a stream breaks: nothing that is held ends. What was told and not acknowledged is in the outbox under its
  number and goes out first on the next stream; its runs count as held until then, because the server would
  otherwise take them for lost before the report arrives. Everything else of the old stream (credit,
  templates, heartbeats, what was said of draining) is forgotten, on both sides;
- the server does not answer: the lease comes into doubt, and nothing new is started; then it lapses, and
  what executes is stopped, because others may execute those runs by now. It is reported as lost, and what has
  not started stays in hand: whether the server still counts on either, its answer to the next hello says;
- a server of another release sends what is not known here: fields are skipped. One that sends a chunk of a
  template that its stream has not defined is confused about that stream: the stream ends, and nothing that is
  held; the next one begins with a hello, and with templates defined anew.

Invariants: everything that ended, and what was logged, is in a numbered frame until acknowledged; everything
else may be lost with a stream. What the session was ever sent, and neither side has ended, each of its hellos
names: so the server may take what is not named for never received.
"""

from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.agent_link.credit import CreditLedger
from taskyard_contract.agent_link.handler import Identity, LinkHandler
from taskyard_contract.agent_link.lease import Lease
from taskyard_contract.agent_link.outbox import Outbox
from taskyard_contract.agent_link.pending import Pending
from taskyard_contract.capabilities import COROUTINES
from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION

_ANY: Final[tuple[bool, tuple[int, ...], bool, tuple[int, ...]]] = (False, (), False, ())
"""Runs of all kinds are wanted."""


class LinkSession(Pending):
    """One agent session over any number of streams."""

    def __init__(self, identity: Identity, handler: LinkHandler) -> None:
        """Serve `handler` under an identity."""
        super().__init__()
        self.identity = identity
        self.lease = Lease()
        self.draining = False
        self.condition = ""
        """Why no work is taken at the moment, for people; whoever changes it wakes the link."""
        self.keeps_blob_bytes: int | None = None
        """Up to how many bytes of large values are kept apart from the server; None: nobody has said."""
        self.reconnect_after: float | None = None
        self._memory: pb.AgentMemory | None = None
        self._handler = handler
        self._outbox = Outbox()
        self._resend: list[pb.AgentFrame] = []
        self._credit = CreditLedger()
        self._apart = CreditLedger()
        """Of coroutines, while the server counts them apart."""
        self.counts_apart = False
        """Whether the server gives coroutines apart from what takes slots."""
        self._templates: dict[int, template_pb2.TemplateDefinition] = {}
        self._hello_at = 0.0
        self._streams = 0
        self._heartbeat = 0
        self._told_draining = False
        self._told_condition = ""
        self._told_nested_only = _ANY
        self._told_keeps: int | None = None
        self._told_memory = True

    def drain(self) -> None:
        """Take no more work from here on."""
        self.draining = True
        self.wake()

    def has_memory(self, used_bytes: int, total_bytes: int) -> None:
        """Tell, beside the next heartbeat, how much memory is in use and how much there is."""
        self._memory = pb.AgentMemory(used_bytes=used_bytes, total_bytes=total_bytes)
        self._told_memory = False

    @property
    def settled(self) -> bool:
        """Whether everything that ended has been acknowledged."""
        return not (self._outbox or self._untold)

    def hello(self, now: float) -> pb.AgentFrame:
        """Return the first frame of a new stream; everything that belonged to an older one is forgotten."""
        self._credit, self._apart = CreditLedger(), CreditLedger()
        self._templates = {}
        self._heartbeat = 0
        self._told_draining, self._told_nested_only = False, _ANY
        self._told_condition = ""
        self._told_keeps = None
        self._told_memory = self._memory is None
        self._resend, self._started = [], []
        self.reconnect_after = None
        self._hello_at = now
        self._streams += 1
        own = self.identity
        hello = pb.AgentHello(
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            agent_id=own.agent_id,
            session_id=own.session_id,
            name=own.name,
            queues=own.queues,
            slots=own.slots,
            labels=own.labels,
            capabilities=own.capabilities,
            tasks=own.tasks,
            held=self._held(),
            agent_version=VERSION,
            stream_number=self._streams,
            coroutines=own.coroutines,
            own_session_id=own.own_session_id,
            serves=own.serves,
        )
        return pb.AgentFrame(hello=hello)

    def _held(self) -> list[pb.RunKey]:
        # Runs that ended but whose report may be lost count as held, or the server would take them for lost
        # before the repeated report arrives.
        self._number_pending()
        keys = {(key.run_id, key.epoch): key for key in self._outbox.run_keys()}
        keys.update({(key.run_id, key.epoch): key for key in self._handler.held()})
        return list(keys.values())

    def _number_pending(self) -> None:
        while (frame := self._take_reports()) is not None:
            self._outbox.add(frame)

    def beat(self, now: float) -> None:
        """Send a heartbeat with the next frame."""
        self._heartbeat = self.lease.beat(now)
        self.wake()

    def next_frame(self) -> pb.AgentFrame | None:
        """Return the next frame to send on the open stream, None when there is nothing to say."""
        if self._resend:
            return self._resend.pop(0)
        frame = self._take_reports()
        if frame is not None:
            self._outbox.add(frame)
        return self._add_rest(frame)

    def _add_rest(self, frame: pb.AgentFrame | None) -> pb.AgentFrame | None:
        credit = self._next_credit()
        announce = self.draining and not self._told_draining
        condition = self.condition != self._told_condition
        keeps = self.keeps_blob_bytes != self._told_keeps
        told = keeps or self._started or self._progress or self._heartbeat
        if frame is None and not (credit or told or announce or condition):
            return None
        if frame is None:
            frame = pb.AgentFrame()
        if credit is not None:
            frame.credit.CopyFrom(credit)
        if self._started:
            frame.started.extend(self._started)
            self._started = []
        if self._progress:
            frame.progress.extend(self._take_progress())
        if self._heartbeat:
            frame.heartbeat, self._heartbeat = self._heartbeat, 0
            if self._memory is not None and not self._told_memory:
                frame.memory.CopyFrom(self._memory)
                self._told_memory = True
        if announce:
            frame.draining = self._told_draining = True
        if condition:
            frame.condition = self._told_condition = self.condition
        if keeps and self.keeps_blob_bytes is not None:
            frame.keeps_blob_bytes = self._told_keeps = self.keeps_blob_bytes
        return frame

    def _next_credit(self) -> pb.Credit | None:
        if self.draining:
            return None
        demand, own = self._handler.demand(), self.identity
        total = self._credit.advance(demand.in_hand, demand.window, own.slots)
        apart = demand.coroutines if self.counts_apart else None
        if apart is not None and self._apart.advance(apart.in_hand, apart.window, own.slots) is not None:
            total = self._credit.granted
        restricted = _ANY[2:] if apart is None else (apart.nested_only, apart.nested_only_shares)
        only = demand.nested_only, demand.nested_only_shares, *restricted
        if total is None and only == self._told_nested_only:
            return None
        self._told_nested_only = only
        return pb.Credit(
            granted_total=self._credit.granted,
            chunk_size=demand.chunk_size,
            nested_only=demand.nested_only,
            nested_only_shares=demand.nested_only_shares,
            coroutines_granted_total=self._apart.granted,
            coroutines_chunk_size=apart.chunk_size if apart is not None else 0,
            coroutines_nested_only=only[2],
            coroutines_nested_only_shares=only[3],
        )

    def welcomed(self, frame: pb.ServerFrame) -> None:
        """Take the first frame of a stream.

        Raises:
            InvalidRequest: It carries no welcome.
            TaskyardError: See `received`.
        """
        if not frame.HasField("welcome"):
            raise InvalidRequest("the server's first frame carries no welcome; is it a Taskyard server?")
        welcome = frame.welcome
        self.lease.grant(welcome.lease_ms / 1000, max(0.05, welcome.heartbeat_ms / 1000), self._hello_at)
        self._outbox.acknowledge(frame.reported_up_to)
        self._resend = self._outbox.unacknowledged()
        self.dropped_logs += self._outbox.lost_logs()
        self.counts_apart = self.identity.coroutines > 0 and COROUTINES in welcome.capabilities
        self._handler.on_welcome(welcome)
        if welcome.drop:
            self._handler.on_drop(welcome.drop)
        self._handler.on_doubt(False)  # not before: what is dropped must not start
        self._act_on(frame)

    def received(self, frame: pb.ServerFrame, now: float) -> None:
        """Apply a frame that came after the welcome.

        Raises:
            TaskyardError: It contradicts what this stream has said before; another stream may do better.
        """
        if frame.reported_up_to:
            self._outbox.acknowledge(frame.reported_up_to)
        if frame.heartbeat:
            self.lease.answered(frame.heartbeat)
            if self.lease.certain(now):
                self._handler.on_doubt(False)
        self._act_on(frame)

    def _act_on(self, frame: pb.ServerFrame) -> None:
        for definition in frame.templates:
            self._templates[definition.index] = definition
        for chunk in frame.chunks:
            template = self._templates.get(chunk.template)
            if template is None:
                # No `InvalidRequest`: that would end the agent, with everything it executes.
                raise TaskyardError(
                    f"the server sent a chunk of template {chunk.template}, which this stream never defined"
                )
            ledger = self._apart if self.counts_apart and template.template.coroutine else self._credit
            ledger.received(len(chunk.run_ids) // ID_BYTES)
            self._handler.on_assign(chunk, template)
        if frame.cancel:
            self._handler.on_cancel(frame.cancel)
        if frame.ended_worlds:
            self._handler.on_worlds_ended(frame.ended_worlds)
        if frame.drain:
            self._handler.on_drain()
        if frame.reconnect_after_ms:
            self.reconnect_after = frame.reconnect_after_ms / 1000

    def check_lease(self, now: float) -> bool:
        """Tell the handler when the lease is in doubt or over. To be called now and then, stream or not.

        Returns:
            Whether the lease has just lapsed: an open stream must be replaced, so that the server says what
            it still counts on.
        """
        if self.lease.lapsed(now):
            self.lease.end()
            self._handler.on_doubt(True)
            self._handler.on_lease_lost()
            return True
        if self.lease.doubtful(now):
            self._handler.on_doubt(True)
        return False
