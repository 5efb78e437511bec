"""The agent's side of the protocol as a machine without I/O, clock or asyncio.

Whoever executes runs tells it what happened (`report`, `lost`, ...), a stream asks it for frames to send and
hands it the frames received, which become calls of a `LinkHandler`. Invariant: everything that ended is in a
numbered frame until acknowledged; everything else may be lost with a stream.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2, states_pb2, template_pb2
from taskyard_contract.agent_link.credit import CreditLedger
from taskyard_contract.agent_link.lease import Lease
from taskyard_contract.agent_link.outbox import Outbox
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION
from taskyard_contract.wire_text import cut

MAX_LOG_BYTES: Final = 4 * 1024 * 1024
MAX_REPORT_BYTES: Final = 1024 * 1024
"""Reports of one frame are cut here; frames must stay far below the transport's limit."""


@dataclass(frozen=True)
class Identity:
    """Who an agent is, as its hello says."""

    agent_id: str
    session_id: bytes
    name: str
    queues: tuple[str, ...]
    slots: int
    labels: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


class Demand(NamedTuple):
    """How much work the executor wants."""

    in_hand: int
    window: int
    chunk_size: int
    nested_only: bool = False
    """Whether only runs are wanted that were submitted from inside other runs."""


class LinkHandler(Protocol):
    """Whoever executes runs. All calls come from the stream's event loop and must not block."""

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """A stream is open; the limits in `welcome` hold from here on."""
        ...

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        """Execute a chunk."""
        ...

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs; confirm each with `LinkSession.cancelled`, unless it was reported before."""
        ...

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs without reporting them: they are somebody else's now."""
        ...

    def on_doubt(self, doubtful: bool) -> None:
        """Start nothing new while `doubtful`: the lease may be about to lapse."""
        ...

    def on_lease_lost(self) -> None:
        """End all runs without reporting them: the lease has lapsed."""
        ...

    def on_drain(self) -> None:
        """The server asks the agent to finish what it holds and to leave."""
        ...

    def held(self) -> Iterable[pb.RunKey]:
        """Name the runs in hand."""
        ...

    def demand(self) -> Demand:
        """Say how much work is wanted."""
        ...


class LinkSession:
    """One agent session over any number of streams."""

    def __init__(self, identity: Identity, handler: LinkHandler) -> None:
        """Serve `handler` under an identity."""
        self.identity = identity
        self.lease = Lease()
        self.draining = False
        self.reconnect_after: float | None = None
        self.wake: Callable[[], None] = _nobody
        self._handler = handler
        self._outbox = Outbox()
        self._resend: list[pb.AgentFrame] = []
        self._credit = CreditLedger()
        self._templates: dict[int, template_pb2.TemplateDefinition] = {}
        self._hello_at = 0.0
        self._heartbeat = 0
        self._told_draining = False
        self._told_nested_only = False
        self._clear_pending()

    def _clear_pending(self) -> None:
        self._reports: list[pb.ReportChunk] = []
        self._started: list[pb.StartedRun] = []
        self._given_back: list[pb.RunKey] = []
        self._lost: list[pb.LostRun] = []
        self._cancelled: list[pb.RunKey] = []
        self._logs: deque[session_service_pb2.LogBatch] = deque()

    # What the executor tells -------------------------------------------------------------------------

    def report(self, first_epoch: int, run_ids: bytes, columns: bytes) -> None:
        """Report consecutive runs that ended; `columns` is a serialised ReportColumns."""
        self._reports.append(pb.ReportChunk(first_epoch=first_epoch, run_ids=run_ids, columns=columns))
        self.wake()

    def started(self, key: pb.RunKey, running: float) -> None:
        """Say that a run has been executing for so many seconds."""
        self._started.append(pb.StartedRun(key=key, running_ms=round(running * 1000)))
        self.wake()

    def give_back(self, keys: Iterable[pb.RunKey]) -> None:
        """Return runs that were not started."""
        self._given_back.extend(keys)
        self.wake()

    def lost(self, key: pb.RunKey, reason: int, message: str) -> None:
        """Say that a run was lost, and why (a `StateReason`)."""
        self._lost.append(
            pb.LostRun(key=key, reason=states_pb2.StateReason.ValueType(reason), message=cut(message))
        )
        self.wake()

    def cancelled(self, key: pb.RunKey) -> None:
        """Confirm a cancellation."""
        self._cancelled.append(key)
        self.wake()

    def log(self, batch: session_service_pb2.LogBatch) -> None:
        """Send log records, not later than the reports told afterwards."""
        self._logs.append(batch)
        self.wake()

    def drain(self) -> None:
        """Take no more work from here on."""
        self.draining = True
        self.wake()

    @property
    def settled(self) -> bool:
        """Whether everything that ended has been acknowledged."""
        return not (self._outbox or self._reports or self._given_back or self._lost or self._cancelled)

    # What a stream asks ------------------------------------------------------------------------------

    def hello(self, now: float) -> pb.AgentFrame:
        """Return the first frame of a new stream; everything that belonged to an older one is forgotten."""
        self._credit = CreditLedger()
        self._templates = {}
        self._heartbeat = 0
        self._told_draining = self._told_nested_only = False
        self._resend = []
        self.reconnect_after = None
        self._hello_at = now
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
            held=self._held(),
            agent_version=VERSION,
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

    def _take_reports(self) -> pb.AgentFrame | None:
        if not (self._reports or self._given_back or self._lost or self._cancelled):
            return None
        frame = pb.AgentFrame()
        self._move_logs(frame)
        if self._logs:
            return frame  # reports come after what was logged before them
        frame.given_back.extend(self._given_back)
        frame.lost.extend(self._lost)
        frame.cancelled.extend(self._cancelled)
        size = taken = 0
        for chunk in self._reports:
            if taken and size + len(chunk.columns) > MAX_REPORT_BYTES:
                break
            size += len(chunk.columns)
            taken += 1
        frame.reports.extend(self._reports[:taken])
        self._reports = self._reports[taken:]
        self._given_back, self._lost, self._cancelled = [], [], []
        return frame

    def _move_logs(self, frame: pb.AgentFrame) -> None:
        """Add as many of the log records as a frame should have."""
        size = 0
        while self._logs and (not size or size + self._logs[0].ByteSize() <= MAX_LOG_BYTES):
            batch = self._logs.popleft()
            size += batch.ByteSize()
            frame.logs.MergeFrom(batch)

    def _add_rest(self, frame: pb.AgentFrame | None) -> pb.AgentFrame | None:
        credit = self._next_credit()
        announce = self.draining and not self._told_draining
        if frame is None and not (credit or self._started or self._logs or self._heartbeat or announce):
            return None
        if frame is None:
            frame = pb.AgentFrame()
        if credit is not None:
            frame.credit.CopyFrom(credit)
        if self._started:
            frame.started.extend(self._started)
            self._started = []
        if not frame.HasField("logs"):
            self._move_logs(frame)
        if self._heartbeat:
            frame.heartbeat, self._heartbeat = self._heartbeat, 0
        if announce:
            frame.draining = self._told_draining = True
        return frame

    def _next_credit(self) -> pb.Credit | None:
        if self.draining:
            return None
        in_hand, window, chunk_size, nested_only = self._handler.demand()
        total = self._credit.advance(in_hand, window, self.identity.slots)
        if total is None and nested_only is self._told_nested_only:
            return None
        self._told_nested_only = nested_only
        return pb.Credit(granted_total=self._credit.granted, chunk_size=chunk_size, nested_only=nested_only)

    # What a stream received --------------------------------------------------------------------------

    def welcomed(self, frame: pb.ServerFrame) -> None:
        """Take the first frame of a stream.

        Raises:
            InvalidRequest: It carries no welcome.
        """
        if not frame.HasField("welcome"):
            raise InvalidRequest("the server's first frame carries no welcome; is it a Taskyard server?")
        welcome = frame.welcome
        self.lease.grant(welcome.lease_ms / 1000, max(0.05, welcome.heartbeat_ms / 1000), self._hello_at)
        self._outbox.acknowledge(frame.reported_up_to)
        self._resend = self._outbox.unacknowledged()
        self._handler.on_welcome(welcome)
        self._handler.on_doubt(False)
        if welcome.drop:
            self._handler.on_drop(welcome.drop)
        self._take(frame)

    def received(self, frame: pb.ServerFrame, now: float) -> None:
        """Take a further frame."""
        if frame.reported_up_to:
            self._outbox.acknowledge(frame.reported_up_to)
        if frame.heartbeat:
            self.lease.answered(frame.heartbeat)
            if not self.lease.doubtful(now):
                self._handler.on_doubt(False)
        self._take(frame)

    def _take(self, frame: pb.ServerFrame) -> None:
        for definition in frame.templates:
            self._templates[definition.index] = definition
        for chunk in frame.chunks:
            template = self._templates.get(chunk.template)
            if template is None:
                raise InvalidRequest(
                    f"a chunk names template {chunk.template}, which this stream never defined"
                )
            self._credit.received(len(chunk.run_ids) // ID_BYTES)
            self._handler.on_assign(chunk, template)
        if frame.cancel:
            self._handler.on_cancel(frame.cancel)
        if frame.drain:
            self._handler.on_drain()
        if frame.reconnect_after_ms:
            self.reconnect_after = frame.reconnect_after_ms / 1000

    def check_lease(self, now: float) -> bool:
        """Tell the handler when the lease is in doubt or over. To be called now and then, stream or not.

        Returns:
            Whether the lease has just lapsed: an open stream must be replaced, so that its hello says that
            nothing is held any more.
        """
        if self.lease.lapsed(now):
            self.lease.end()
            self._handler.on_doubt(True)
            self._handler.on_lease_lost()
            return True
        if self.lease.doubtful(now):
            self._handler.on_doubt(True)
        return False


def _nobody() -> None:
    """No stream is open."""
