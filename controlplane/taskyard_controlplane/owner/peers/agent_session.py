"""Live sessions of agents: credit, what each holds, and what is to be sent to it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.states import AgentState
from taskyard_controlplane.domain.matching import Need, offer_of
from taskyard_controlplane.domain.model import AgentIdentity, Run, Template
from taskyard_controlplane.owner.peers.peer import NOBODY, Caller, Close, Peer, Wake
from taskyard_controlplane.owner.peers.task_offers import TaskOffers
from taskyard_controlplane.owner.timers import Timer

T = TypeVar("T")

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""Frames are cut here, far below what the transport takes."""
MAX_TEMPLATES: Final = 4_096
"""Remembered to have been sent on a stream; more than an agent itself keeps."""


def _first_of(items: list[T], size_of: Callable[[T], int]) -> list[T]:
    """Return the first of some items, as many as fit into a frame; at least one, if there are any."""
    size = 0
    for count, item in enumerate(items):
        size += size_of(item)
        if size > MAX_FRAME_BYTES and count:
            return items[:count]
    return items


class Allowance:
    """Credit for coroutines, of an agent that has room for them apart from its slots."""

    __slots__ = ("assigned", "chunk_size", "granted", "nested_only", "nested_only_shares")

    def __init__(self) -> None:
        """Allow nothing yet; one for each stream."""
        self.granted = self.assigned = 0
        self.chunk_size = 1
        self.nested_only = False
        self.nested_only_shares: frozenset[int] = frozenset()


class AgentSession(Peer):
    """One agent process: what it offers, what it holds, and what is to be sent to it.

    Credit is counted up on both sides and never down: `granted` is all it ever allowed on this stream,
    `assigned` all it ever got, so that no message about credit can be lost or counted twice.

    The threads of a program are an agent, too: it has shown what they log in its `own_session_id`.
    """

    def __init__(self, hello: pb.AgentHello, now: float, now_us: int) -> None:
        """Open a session from the first frame; `now` is monotonic, `now_us` wall time."""
        super().__init__(hello.name or hello.agent_id)
        self.agent_id = hello.agent_id
        self.identity = AgentIdentity(hello.agent_id)
        self.session_id, self.own_session_id = hello.session_id, hello.own_session_id
        names = [task.name for task in hello.tasks]
        self.offer = offer_of(hello.queues, hello.capabilities, hello.labels, names, hello.serves)
        self.queues = self.offer.queues
        self.tasks = TaskOffers(hello.tasks, self.offer)
        self.capabilities = tuple(hello.capabilities)
        self.slots = hello.slots
        self.labels = dict(hello.labels)
        self.version = hello.agent_version
        self.connected_us = self.last_seen_us = now_us
        self.last_seen = now
        self.draining = False
        self.memory = (0, 0)
        """How many bytes its machine uses, and has, as it said last; zeros before."""
        self.condition = ""
        """Why it takes no work at the moment, for people."""
        self.asked_to_drain = False
        """Whether it has not answered yet that it drains."""
        self.held: dict[bytes, Run] = {}
        self.granted = self.assigned = 0
        self.chunk_size = 1
        self.nested_only = False
        """Whether it takes only runs that others wait for."""
        self.nested_only_shares: frozenset[int] = frozenset()
        """Of which sessions only such runs; of all of them when it names none."""
        self.coroutines = hello.coroutines
        """How many runs of coroutine functions it executes beside its slots; 0: they take slots."""
        self.apart = Allowance()
        """Credit for these."""
        self.paused = False
        """Whether it is sent nothing for a while, because what it was sent last did not arrive."""
        self.unreceived = 0
        """How often in a row that happened, since it last executed something."""
        self.away = False
        """Whether its last call was broken off: without a stream it may be gone, and is given nothing
        before it asks again."""
        self.declines = 0
        """How often in a row it gave runs back, since it last executed something."""
        self.challenge: tuple[bytes, float] | None = None
        """The session of another process that wanted its name, and when it first did."""
        self.last_report = self.logged_up_to = 0
        self.restating: list[Timer] = []
        """What will give up runs that it should hold but did not restate, one for each hello."""
        self._templates: dict[int, int] = {}  # the oldest first
        self._last_index = 0
        self._new_templates: list[template_pb2.TemplateDefinition] = []
        self._chunks: list[pb.AssignChunk] = []
        self._chunks_sent = 0
        self._cancel: list[tuple[int, pb.RunKey]] = []
        """Each with how many chunks have to be sent before: an agent ignores what it has not yet got."""
        self._ended_worlds: list[bytes] = []
        self._heartbeat = 0
        self._drain = False
        self.unsent_bytes = 0
        """How much the chunks have that wait for the stream."""
        self.on_room: Callable[[], None] | None = None
        """Called when some of them have gone."""

    def excuse(self, seconds: float, now: float) -> None:
        """Leave out of its silence so many seconds in which nobody could listen.

        That is no sign of life: whoever wants its name goes on waiting for one.
        """
        self.last_seen = min(now, self.last_seen + seconds)
        if self.challenge is not None:
            session_id, since = self.challenge
            self.challenge = session_id, min(now, since + seconds)

    @property
    def may_still_report(self) -> bool:
        """Whether there are runs that it did not restate, but may have finished before it said hello."""
        return any(timer.pending for timer in self.restating)

    @property
    def state(self) -> AgentState:
        """What the agent is doing, for people."""
        if not self.connected:
            return AgentState.DISCONNECTED
        return AgentState.DRAINING if self.draining else AgentState.ONLINE

    @property
    def credit(self) -> int:
        """How many more runs the agent takes."""
        return self.granted - self.assigned if self.is_fed else 0

    @property
    def is_fed(self) -> bool:
        """Whether it gets runs, as far as it takes any."""
        return not (self.draining or self.paused or self.away or self.close is None)

    @property
    def credit_apart(self) -> int:
        """How many more runs of coroutine functions it takes, beside those that take slots."""
        if not self.coroutines or not self.is_fed:
            return 0
        return self.apart.granted - self.apart.assigned

    def takes_apart(self, template: Template) -> bool:
        """Say whether it has room for the runs of a template that is no room of its slots."""
        return self.meets_apart(template.need)

    def meets_apart(self, need: Need) -> bool:
        """Say the same of what needs something."""
        return self.coroutines > 0 and need.coroutine

    def charge(self, template: Template, runs: int) -> None:
        """Count runs of a template as assigned; as not assigned after all, when they are less than none."""
        if self.takes_apart(template):
            self.apart.assigned += runs
        else:
            self.assigned += runs

    @property
    def reported_up_to(self) -> int:
        """The number up to which reports are durable, or stale."""
        return self.durable_up_to

    @property
    def settled(self) -> bool:
        """Whether the agent holds nothing, and everything it reported is durable."""
        return not self.held and self.durable_up_to >= self.last_report

    def attach(self, wake: Wake, close: Close, caller: Caller = NOBODY) -> None:
        """Attach a stream. Credit, templates and unsent frames belong to a stream and start anew."""
        super().attach(wake, close, caller)
        self.granted = self.assigned = 0
        self.nested_only, self.nested_only_shares = False, frozenset()
        self.apart = Allowance()
        self.condition = ""
        self._templates, self._last_index = {}, 0
        self._new_templates, self._chunks, self._cancel, self._ended_worlds = [], [], [], []
        self._chunks_sent = 0
        self.unsent_bytes = 0
        self._heartbeat = 0
        self._drain = self.asked_to_drain  # the request may have been lost with the old stream

    def template_index(self, template: Template, code: bytes, variables: Mapping[str, str]) -> int:
        """Return the stream's index of a template.

        The first time its definition is sent, with its code and what its program has handed over.
        """
        index = self._templates.get(template.template_id)
        if index is None:
            if len(self._templates) >= MAX_TEMPLATES:
                del self._templates[next(iter(self._templates))]  # it is sent again when it is used again
            self._last_index += 1
            index = self._last_index
            if variables or template.need.world is None:  # else they may come, and are sent with it then
                self._templates[template.template_id] = index
            definition = template_pb2.TemplateDefinition(index=index, code=code, variables=variables)
            definition.template.MergeFromString(template.definition)
            self._new_templates.append(definition)
        return index

    def assign(self, chunk: pb.AssignChunk) -> None:
        """Have a chunk sent with the next frame; whoever assigns wakes the stream once for all of them."""
        self._chunks.append(chunk)
        self.unsent_bytes += len(chunk.body)

    def cancel(self, run: Run) -> None:
        """Tell the agent to end a run, after all that it was assigned until now."""
        key = pb.RunKey(run_id=run.run_id, epoch=run.epoch)
        self._cancel.append((self._chunks_sent + len(self._chunks), key))
        self.wake()

    def worlds_ended(self, world_ids: Iterable[bytes]) -> None:
        """Tell the agent of worlds whose program has ended; nobody is there to hear it without a stream."""
        if self.close is not None:
            self._ended_worlds.extend(world_ids)
            self.wake()

    def answer_heartbeat(self, number: int) -> None:
        """Have the next frame carry the number of a heartbeat back: the agent times its lease by that."""
        self._heartbeat = number

    def drain(self) -> None:
        """Ask the agent to finish what it holds and leave; it is assigned nothing from here on."""
        self.draining = self.asked_to_drain = self._drain = True
        self.wake()

    @property
    def _anything(self) -> bool:
        return bool(
            self._chunks
            or self._new_templates
            or self.unsaid > 0
            or self._heartbeat
            or self._cancel
            or self._drain
            or self._ended_worlds
            or self._reconnect_after_ms
        )

    def next_frame(self) -> pb.ServerFrame | None:
        """Return what there is to send, None for nothing."""
        if not self._anything:
            return None
        templates = _first_of(self._new_templates, lambda one: len(one.code))
        self._new_templates = self._new_templates[len(templates) :]
        # Nothing may come before its template.
        chunks = [] if self._new_templates else _first_of(self._chunks, lambda one: len(one.body))
        self._chunks_sent += len(chunks)
        frame = pb.ServerFrame(
            templates=templates,
            chunks=chunks,
            reported_up_to=self.durable_up_to,
            cancel=self._due_cancels() if self._cancel else (),
            heartbeat=self._heartbeat,
            drain=self._drain,
            reconnect_after_ms=self._reconnect_after_ms,
            ended_worlds=self._ended_worlds,
        )
        self._said_up_to = self.durable_up_to
        self._chunks = self._chunks[len(chunks) :]
        if self._chunks or self._new_templates:
            self.wake()
        if chunks:
            self.unsent_bytes = sum(len(chunk.body) for chunk in self._chunks) if self._chunks else 0
            if self.on_room is not None:
                self.on_room()
        self._heartbeat = self._reconnect_after_ms = 0
        self._drain = False
        self._ended_worlds = []
        return frame

    def _due_cancels(self) -> list[pb.RunKey]:
        """Take the cancellations of what has been sent, this frame included."""
        due = [key for after, key in self._cancel if after <= self._chunks_sent]
        self._cancel = self._cancel[len(due) :]  # they are in this order
        return due
