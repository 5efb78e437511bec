"""Which lane executes which coroutines, and how many of them there is room for.

Runs of coroutine functions are credited apart from slots: so many for each slot, however long they wait. They
are executed in lanes, processes with one event loop each. A lane belongs to one program, as every worker, and
to one depth: what a run submits is executed in a lane in which none of those wait that wait for it. So code
that keeps a loop while it waits for its own runs, as a call of a task with `def` does, does not keep these.

For each program and depth there are as many lanes as slots at most; a second one comes when the first has
something to do. Lanes whose loop does not go round, or whose code waits and keeps it, are given nothing, and
others take their place. Runs that await others without keeping the loop take no room; when many do, only what
runs wait for is wanted (`nested_only`), as with workers.

A task one of whose runs has kept its loop to wait for others, or had to be ended with its process, shares no
process any more, and neither do runs whose process died twice with several in it: they are executed by
ordinary workers, as runs that take slots are. So others are not held up, or repeated, again and again on
their account, and who kills its process is known.
Invariant: a run that is queued here is in exactly one group, and leaves it for a lane, or for the account.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from taskyard_agent.holding.blob_transfers import BlobTransfers
from taskyard_agent.holding.chunks import CARVE_BYTES, Chunk, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.intake import Intake
from taskyard_agent.holding.queue import SpanQueue
from taskyard_agent.holding.worlds import GivenWorld
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.worker_handle import place_of
from taskyard_agent.processes.worker_phase import LEFT, WorkerPhase
from taskyard_agent.processes.workforce import Workforce
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.ids import split_ids
from taskyard_contract.states import StateReason

MOST_LIVE: Final = 10_000
"""In one lane, with those that wait for others; beyond, another lane is begun."""
MOST_CHUNK: Final = 256
"""Among so many runs the cost of a frame does not show any more."""
MOST_KEPT: Final = 4
"""For each slot, so many lanes without runs are kept for their programs."""
MOST_SUSPECTS: Final = 10_000
"""Of which is remembered that their process died with them."""
SUSPECTED_FROM: Final = 2
"""Deaths after which a run shares no process any more: it has one more infrastructure retry by default."""
PATIENCE_SECONDS: Final = 0.1
"""When many wait for others and nothing goes on for so long, more is begun after all."""
_TAKES: Final = frozenset({WorkerPhase.IDLE, WorkerPhase.BUSY})


class LaneGroup:
    """The runs of one program and depth that wait for a lane, and their lanes."""

    def __init__(self, world: GivenWorld | None, depth: int) -> None:
        """Have neither yet."""
        self.world = world
        self.depth = depth
        self.queue = SpanQueue(apart=True)
        self.lanes: list[LaneHandle] = []


class Lanes:
    """The lanes of an agent, and what waits for them."""

    def __init__(
        self,
        slots: int,
        per_slot: int,
        workforce: Workforce,
        holdings: Holdings,
        intake: Intake,
        transfers: BlobTransfers,
        take_number: Callable[[], int],
    ) -> None:
        """Have room for so many coroutines for each slot; 0 has them executed by workers, as all runs."""
        self.counted_apart = False
        """Whether the server gives them apart."""
        self._slots = slots
        self._per_slot = per_slot
        self._workforce = workforce
        self._holdings = holdings
        self._intake = intake
        self._transfers = transfers
        self._take_number = take_number
        self._loop = asyncio.get_running_loop()
        self._groups: dict[tuple[bytes, int], LaneGroup] = {}
        self._suspects: dict[bytes, int] = {}
        """How often their process died, with several runs in it, by run."""
        self._bound = 2 * self._room
        self._quiet_since: float | None = None
        self._nothing_held = Demand(0, self._room, self._chunk_size)

    @property
    def _chunk_size(self) -> int:
        return min(self._per_slot, MOST_CHUNK)

    @property
    def _room(self) -> int:
        return self._slots * self._per_slot

    def __iter__(self) -> Iterator[LaneHandle]:
        """Iterate over the lanes whose exit is not confirmed."""
        return (worker for worker in self._workforce.workers.values() if isinstance(worker, LaneHandle))

    @property
    def is_used(self) -> bool:
        """Whether there is, or was a moment ago, anything to do for lanes."""
        return bool(self._groups)

    @property
    def awaiting(self) -> int:
        """How many runs wait for others here."""
        return sum(lane.awaiting for lane in self)

    @property
    def queued(self) -> int:
        """How many runs wait for a lane."""
        return sum(group.queue.runs for group in self._groups.values())

    # What comes.

    def place(self, chunk: Chunk) -> None:
        """Decide where the runs of a new chunk are executed."""
        template = chunk.template
        if chunk.nested and (self._groups or template.coroutine):
            chunk.depth = self._depth_below(chunk.caller)
        if template.coroutine and self.counted_apart and self._per_slot and not template.alone:
            chunk.in_lane = not (self._suspects and self._is_suspected(chunk))

    def _is_suspected(self, chunk: Chunk) -> bool:
        deaths = self._suspects.get
        return any(deaths(run_id, 0) >= SUSPECTED_FROM for run_id in split_ids(chunk.ids))

    def _depth_below(self, caller: bytes) -> int:
        for worker in self._workforce.workers.values() if caller else ():
            for span in worker.spans.values():
                if caller in span.chunk.ids:
                    return span.chunk.depth + 1
        return 1

    def wants(self, span: Span) -> bool:
        """Whether runs that have not started may start here."""
        if self._intake.closed:
            return False
        waits = self._workforce.blocked() or self.awaiting or any(lane.kept for lane in self)
        return not self._intake.draining or (span.chunk.nested and bool(waits))

    def add(self, span: Span) -> None:
        """Queue runs."""
        if span.chunk.depth > self._workforce.most_waiting:
            self._refuse(span)
        else:
            self._group_of(span).queue.add(span)

    def _refuse(self, span: Span) -> None:
        message = (
            f"{span.chunk.depth} runs wait for this one, each for the next; its agent lets at most"
            f" {self._workforce.most_waiting} do so: nest calls less deeply, or start the agent with a larger"
            " --max-waiting"
        )
        self._holdings.lose(span, StateReason.WAITING_REFUSED, message)

    def put_back(self, spans: list[Span]) -> None:
        """Queue runs before all others, or give back those that will not start here."""
        self._holdings.give_back([span for span in spans if not self.wants(span)])
        for span in reversed(spans):
            if self.wants(span):
                self._group_of(span).queue.put_back([span])

    def _group_of(self, span: Span) -> LaneGroup:
        world, depth = span.chunk.template.world, span.chunk.depth
        key = place_of(world), depth
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = LaneGroup(world, depth)
        group.world = world  # another revision of it, perhaps
        return group

    def remove(self, key: pb.RunKey) -> Span | None:
        """Take one run out of its queue; None when it is in none."""
        found = (group.queue.remove(key) for group in self._groups.values() if group.queue.runs)
        return next((span for span in found if span is not None), None)

    def sift(self) -> None:
        """Give back what is queued and not wanted any more: the agent leaves, or its disk is full."""
        for group in list(self._groups.values()):
            self.put_back(group.queue.clear())

    def demand(self) -> Demand | None:
        """Say how many coroutines are wanted; None when they take slots."""
        if not (self.counted_apart and self._per_slot):
            return None
        if not (self._groups or self._holdings.coroutines or self._intake.closed):
            return self._nothing_held  # with each frame, where nobody has async tasks
        awaiting = self.awaiting
        window = 0 if self._intake.closed else self._room
        if awaiting < 2 * self._room:
            self._bound = 2 * self._room
        in_hand = max(0, self._holdings.in_lanes - awaiting)
        shares = () if awaiting >= self._bound else self._with_slots()
        return Demand(in_hand, window, self._chunk_size, awaiting >= self._bound or bool(shares), shares)

    def _with_slots(self) -> tuple[int, ...]:
        """Return of which sessions there are as many runs that share no process as there are slots.

        Those take slots. No more of them are wanted, and those of others have all the room that there is.
        """
        alone = self._holdings.alone
        if not alone:
            return ()
        enough = self._slots + self._workforce.blocked()  # one that waits takes none
        return tuple(sorted(share for share, runs in alone.items() if runs >= enough))

    def reconsider(self, now: float) -> None:
        """Want more after all, when many wait for others and nothing goes on: they may wait for that."""
        awaiting = self.awaiting
        if awaiting < self._bound or self._holdings.coroutines > awaiting:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= PATIENCE_SECONDS:
            self._quiet_since = None
            self._bound = awaiting + self._room
            self._holdings.session.wake()

    # What goes.

    def dispatch(self) -> list[LaneHandle]:
        """Give queued runs to lanes, as far as they take some; returns the lanes that got any."""
        given: list[LaneHandle] = []
        for key, group in list(self._groups.items()):
            while group.queue.runs and (lane := self._give(group)) is not None:
                given.append(lane)
            if not (group.queue.runs or group.lanes):
                del self._groups[key]
        return given

    def _give(self, group: LaneGroup) -> LaneHandle | None:
        takes = [
            lane
            for lane in group.lanes
            if lane.phase in _TAKES
            and lane.takes_coroutines
            and lane.active < self._per_slot
            and lane.count < MOST_LIVE
        ]
        lane = min(takes, key=lambda one: one.active, default=None)
        if lane is None or lane.active:
            self._grow(group)
        if lane is None:
            return None
        share = -(-group.queue.runs // len(takes))
        span = group.queue.pop(min(self._per_slot - lane.active, share, MOST_CHUNK))
        if span is None:
            return None
        group.queue.spent(span)
        if (span.chunk.blobs or span.chunk.template.bundle) and not self._transfers.present(span):
            self._transfers.fetch(span)  # removed meanwhile, to make room
            return lane
        if len(span.chunk.body) > CARVE_BYTES:
            span = self._holdings.slim(span)
        lane.give(self._take_number(), span)
        return lane

    def _grow(self, group: LaneGroup) -> None:
        """Begin another lane of a group, if it may have one more and none is on its way."""
        lanes = [lane for lane in group.lanes if lane.phase not in LEFT and not lane.kept]
        if any(lane.phase is WorkerPhase.STARTING for lane in lanes) or not self._workforce.may_spawn:
            return
        late = min(self._slots, sum(lane.late for lane in lanes))
        full = sum(lane.count >= MOST_LIVE for lane in lanes)
        if len(lanes) - late - full >= self._slots or not self._makes_place(group):
            return
        world = group.world
        if world is not None and world.interpreter in self._workforce.troubles:
            world.trouble = self._workforce.troubles[world.interpreter]
        interpreter = None if world is None or world.trouble else world.interpreter
        lane = self._workforce.spawn(interpreter, make=LaneHandle)
        if isinstance(lane, LaneHandle):
            lane.place = place_of(world)
            lane.gone = partial(self._leave, group)
            group.lanes.append(lane)
            if group.depth:
                self._workforce.prepare()  # after it, which need not wait for the imports

    def _makes_place(self, group: LaneGroup) -> bool:
        """Let lanes go that have no runs, or say that there are too many; for nested runs there never are."""
        lanes = [lane for lane in self if lane.phase not in LEFT]
        most = MOST_KEPT * self._slots
        idle = [lane for lane in lanes if lane.phase is WorkerPhase.IDLE and lane not in group.lanes]
        idle.sort(key=lambda lane: lane.busy_since_ns)
        for lane in idle[: max(0, len(lanes) + 1 - most)]:
            self._workforce.retire(lane)
            lanes.remove(lane)
        held = sum(lane.kept for lane in lanes)
        return group.depth > 0 or (len(lanes) - held < most and held <= self._workforce.most_waiting)

    def _leave(self, group: LaneGroup, lane: LaneHandle) -> None:
        if lane in group.lanes:
            group.lanes.remove(lane)

    # What is learned.

    def suspect(self, span: Span) -> None:
        """Note that a process died with these runs, and who of them ended it is not known.

        After the first time they share a process again: most deaths are the machine's doing, and to execute
        hundreds of coroutines one by one takes long. After the second they do not.
        """
        for run_id in split_ids(span.chunk.ids_of(span.start, len(span))):
            self._suspects[run_id] = self._suspects.pop(run_id, 0) + 1
        while len(self._suspects) > MOST_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
