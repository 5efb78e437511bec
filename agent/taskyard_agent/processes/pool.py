"""The pool of warm worker processes: the executor that a link session drives (`LinkHandler`).

    link session -> ProcessPool -> Intake -> Dispatcher -> WorkerHandle -> worker process
    link session <-  Holdings  <------------ Reception  <--------------

Chunks come in unopened, wait in the intake, are given to workers, and reports go out unopened; whatever else
becomes of a run, it leaves by `Holdings`, which alone speaks to the session of ends. Beside this way: blobs
travel (`BlobTransfers`), the watchdog finds runs that take long, `Endings` ends runs with their processes,
and the workforce sees to it that there are as many workers as are needed.

All of it runs on one event loop and nothing in it blocks, so nothing is locked; each callback leaves every
run in one place. The pool itself only puts these together and hands on what the server wants.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from taskyard_agent.holding.admission import COROUTINES_PER_SLOT
from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.holding.blob_transfers import BlobTransfers
from taskyard_agent.holding.chunks import Chunk
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.intake import Intake
from taskyard_agent.holding.room import Room
from taskyard_agent.holding.templates import LocalTemplates
from taskyard_agent.holding.unpacked_bundles import UnpackedBundles
from taskyard_agent.holding.worlds import Worlds
from taskyard_agent.processes.dispatcher import Dispatcher
from taskyard_agent.processes.endings import Endings
from taskyard_agent.processes.lane_watch import LaneWatch
from taskyard_agent.processes.lanes import Lanes
from taskyard_agent.processes.reception import Reception
from taskyard_agent.processes.terminating import Why
from taskyard_agent.processes.watchdog import Watchdog
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.agent_link import LinkSession
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.capabilities import COROUTINES
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES

logger = logging.getLogger(__name__)


class ProcessPool:
    """What a link session sees of the workers."""

    def __init__(
        self,
        slots: int,
        workforce: Workforce,
        blobs: BlobStore,
        leave: Callable[[], None],
        clock_ns: Callable[[], int] = time.monotonic_ns,
        worlds: Worlds | None = None,
        bundles: UnpackedBundles | None = None,
        coroutines: int = COROUTINES_PER_SLOT,
    ) -> None:
        """Execute up to `slots` runs at a time in `workforce`.

        Args:
            slots: How many.
            workforce: The workers.
            blobs: Where payloads are that do not travel inside frames.
            leave: Called when draining.
            clock_ns: What workers note when a run starts: monotonic nanoseconds of this machine.
            worlds: Knows the worlds of programs.
            bundles: Where the code of programs on other machines is unpacked.
            coroutines: How many go on together for each slot, beside it; 0 has them take slots.
        """
        if bundles is None:
            bundles = UnpackedBundles(blobs.directory.with_name("bundles"), blobs)
        self.workforce = workforce
        self.templates = LocalTemplates(worlds)
        self.holdings = Holdings()
        self.intake = Intake(
            slots,
            self.holdings,
            workforce.blocked,
            self._latest_waiting,
            workforce.executing,
            workforce.most_waiting,
            workforce.blocked_shares,
        )
        self.endings = Endings(self.holdings, workforce)
        self.room = Room(blobs.directory, self._evict)
        self._blobs, self._stores = blobs, (blobs, bundles)
        self.room.changed = self._on_room
        self.transfers = BlobTransfers(
            blobs, bundles, self.room, self.holdings, lambda spans: self._dispatcher.requeue(spans)
        )
        self.intake.fetching = self.transfers.awaiting
        self._watchdog = Watchdog(workforce, self.endings, self.holdings, self.intake, clock_ns)
        self._dispatcher = Dispatcher(self.intake, workforce, self.transfers, self._watchdog)
        self._begin_lanes(slots, coroutines, clock_ns)
        self._leave = leave
        blobs.in_use = self._blobs_in_use
        bundles.in_use = self._bundles_in_use
        workforce.attach(self._reception())

    def _reception(self) -> Reception:
        return Reception(
            self.workforce,
            self.holdings,
            self.intake,
            self.transfers,
            self.room,
            self.endings,
            self._dispatcher,
        )

    def _begin_lanes(self, slots: int, per_slot: int, clock_ns: Callable[[], int]) -> None:
        self.lanes = self._dispatcher.lanes = Lanes(
            slots,
            per_slot,
            self.workforce,
            self.holdings,
            self.intake,
            self.transfers,
            self._dispatcher.take_number,
        )
        self.endings.suspect = self.lanes.suspect
        self._lane_watch = self._dispatcher.lane_watch = LaneWatch(
            self.lanes, self.workforce, self.endings, self.holdings, clock_ns
        )

    def serve(self, session: LinkSession) -> None:
        """Report to a session, and fill the pool."""
        self.holdings.session = session
        self.workforce.fit()

    def close(self) -> None:
        """End all workers and transfers, whatever they are at."""
        self._watchdog.stop()
        self._lane_watch.stop()
        self.room.stop()
        self.transfers.close()
        self.workforce.close()

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Tell the workers the server's limits, and the server again what has started."""
        self.lanes.counted_apart = COROUTINES in welcome.capabilities
        limits = frames.SETTINGS_BODY.pack(
            welcome.max_inline_bytes or MAX_INLINE_BYTES, welcome.max_payload_bytes or MAX_PAYLOAD_BYTES
        )
        store = self._blobs.look_for(welcome.blob_directory)
        self.holdings.session.keeps_blob_bytes = 0 if store else self._blobs.capacity
        self.workforce.greet(frames.pack(frames.SETTINGS, limits, os.fsencode(store)))
        for worker in self.workforce.workers.values():
            if worker.world is not None and not worker.spans:
                worker.world.unsure = True  # its program may have ended while there was no stream
        self._watchdog.restate()
        self._lane_watch.restate()

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        """Queue a chunk, after its blobs have come."""
        local = self.templates.of(template)
        if local.world is not None:
            local.world.unsure = False
        assigned = Chunk.assigned(chunk, local)
        self.lanes.place(assigned)
        span = self.holdings.accept(assigned)
        if not (self.lanes if assigned.in_lane else self.intake).wants(span):
            self.holdings.give_back([span])
        elif (span.chunk.blobs or local.bundle) and not self.transfers.present(span, is_new=True):
            self.transfers.fetch(span)
        else:
            (self.lanes if assigned.in_lane else self.intake.queue).add(span)
            self._dispatcher.dispatch()

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs, and confirm each when nothing executes it any more."""
        for key in keys:
            self._end(key, confirm=True)
        self._dispatcher.dispatch()

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs of which the server wants to hear nothing."""
        for key in keys:
            self._end(key, confirm=False)
        self._dispatcher.dispatch()

    def on_worlds_ended(self, world_ids: Sequence[bytes]) -> None:
        """Keep no workers for programs that have ended; who is idle is found at the next look (`Staff`)."""
        for worker in self.workforce.workers.values():
            if worker.world is not None and worker.world.id in world_ids:
                worker.world.ended = True

    def _end(self, key: pb.RunKey, confirm: bool) -> None:
        waiting = self.intake.queue.remove(key) or self.lanes.remove(key) or self.transfers.remove(key)
        if waiting is None:
            self._end_in_worker(key, confirm)
        elif confirm:
            self.holdings.cancel(waiting)
        else:
            self.holdings.drop([waiting])

    def _end_in_worker(self, key: pb.RunKey, confirm: bool) -> None:
        for worker in self.workforce.workers.values():
            found = worker.find(key)
            if found is not None:
                number, _, position = found
                self.endings.end(worker, number, position, confirm)
                return

    def _latest_waiting(self) -> bytes | None:
        """Name the run that began to wait last; None when nothing waits, or its worker does not say."""
        worker = self.workforce.latest_waiting()
        executing = worker.executing() if worker is not None else None
        return executing[1].key(executing[2].position).run_id if executing is not None else None

    def on_doubt(self, doubtful: bool) -> None:
        """Start nothing while the lease is in doubt."""
        self.intake.doubtful = doubtful
        self._dispatcher.doubt(doubtful)

    def on_lease_lost(self) -> None:
        """End what executes: the server may have given these runs to others.

        Nothing else starts before the server has said what it still counts on: until then there is doubt.
        """
        logger.warning("the lease lapsed; ending what executes of %d runs", self.holdings.runs)
        for worker in list(self.workforce.workers.values()):
            if worker.spans:
                self.endings.abandon(worker)

    def on_drain(self) -> None:
        """Give back what has not started, take nothing more."""
        self._leave()
        self.holdings.session.drain()
        self.intake.drain()
        self.lanes.sift()
        self._dispatcher.requeue(self.transfers.clear())
        for worker in self.workforce.workers.values():
            worker.revoke_all()

    def _on_room(self) -> None:
        """Take nothing while the disk is full, and give back what has not started."""
        closed = bool(self.room.condition)
        self.holdings.session.condition = self.room.condition
        self.intake.close(closed)
        self.lanes.sift()
        if closed:
            self._dispatcher.requeue(self.transfers.clear())
            for worker in self.workforce.workers.values():
                worker.revoke_all()

    def held(self) -> Iterable[pb.RunKey]:
        """Name every run in hand of which the server is to hear.

        What is dropped stays in hand until its process is gone, and then ends in silence: were it named, the
        server would count on it again and wait for ever.
        """
        dropped = {
            (key.run_id, key.epoch) for worker in self.workforce.workers.values() for key in worker.dropped()
        }
        return (key for key in self.holdings.run_keys() if (key.run_id, key.epoch) not in dropped)

    def demand(self) -> Demand:
        """Say how much work is wanted."""
        return self.intake.demand(self.lanes.demand())

    def stop_running(self) -> None:
        """End the runs that are still executing: the agent's grace is over."""
        for worker in list(self.workforce.workers.values()):
            executing = worker.executing()
            if executing is not None:
                _, span, progress = executing
                self.endings.kill(worker, Why.STOPPED, span.key(progress.position))
            elif worker.is_lane and worker.spans:
                first = next(iter(worker.spans.values()))
                self.endings.kill(worker, Why.STOPPED, first.key(first.start))

    async def emptied(self) -> None:
        """Wait until no run is in hand."""
        await self.holdings.emptied()

    def _evict(self) -> None:
        for store in self._stores:
            store.evict()

    def _bundles_in_use(self) -> Iterator[bytes]:
        yield from self.holdings.bundles()
        for worker in self.workforce.workers.values():
            yield from worker.bundles

    def _blobs_in_use(self) -> Iterator[str]:
        yield from self.holdings.blobs()
        yield from self.transfers.results()
