"""The pool of warm worker processes: the agent's `LinkHandler`.

Chunks come in unopened, go to workers, and reports go out unopened; per run there is only counting and
slicing. Invariant: every run in hand ends in exactly one of report, loss, cancellation, return or drop.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from taskyard_agent.holding.admission import Crowding
from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.holding.blob_transfers import Transfers
from taskyard_agent.holding.chunks import Piece, PieceQueue, Source, Template
from taskyard_agent.processes.endings import Endings, Why
from taskyard_agent.processes.watchdog import Overseer
from taskyard_agent.processes.worker_handle import MAX_TEMPLATES, Worker
from taskyard_agent.processes.workforce import Crew
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2, template_pb2
from taskyard_contract.agent_link.session import Demand, LinkSession
from taskyard_contract.agent_link.window import WindowSizer

logger = logging.getLogger(__name__)


class ProcessPool:
    """Executes runs in worker processes."""

    def __init__(self, slots: int, crew: Crew, blobs: BlobStore, leave: Callable[[], None]) -> None:
        """Execute up to `slots` runs at a time in workers of `crew`; `leave` is called when draining."""
        self.sizer = WindowSizer(slots)
        self.queue = PieceQueue()
        self.crew = crew
        self._crowding = Crowding(slots)
        self.session: LinkSession
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self.endings = Endings(self, self._loop)
        self._transfers = Transfers(self, blobs)
        self._overseer = Overseer(self, self._loop)
        self._templates: dict[bytes, Template] = {}  # the least recently used one first
        self._last_template: Template | None = None
        self._numbers = count(1)
        self._in_hand = 0
        self._doubtful = False
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._settings = b""
        blobs.in_use = self._blobs_in_use
        crew.attach(self)

    def serve(self, session: LinkSession) -> None:
        """Report to a session, and fill the pool."""
        self.session = session
        self.crew.fit()

    # From the server ---------------------------------------------------------------------------------

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Tell the workers the server's limits."""
        limits = frames.SETTINGS_BODY.pack(
            welcome.max_inline_bytes or 64 * 1024, welcome.max_payload_bytes or 64 * 1024 * 1024
        )
        self._settings = frames.pack(frames.SETTINGS, limits)
        for worker in self.crew.workers.values():
            if worker.ready:
                worker.send(self._settings)

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        """Queue a chunk, after its blobs have come."""
        local = self._template(template)
        blobs = tuple(blob.digest for blob in chunk.blobs) if chunk.blobs else ()
        if chunk.HasField("body_blob"):
            blobs = (chunk.body_blob.digest, *blobs)
        if local.digest and not local.definition.code:
            blobs = (local.digest, *blobs)
        source = Source(local, chunk.first_epoch, chunk.run_ids, chunk.body, blobs)
        source.body_digest, source.nested = chunk.body_blob.digest, chunk.nested
        piece = Piece(source, 0, len(source))
        self._in_hand += len(piece)
        self._empty.clear()
        if self._draining or (self._crowding.crowded and not chunk.nested):
            self.give_back([piece])
        elif blobs:
            self._transfers.fetch(piece)
        else:
            self.queue.add(piece)
            self.dispatch()

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs and confirm it."""
        for key in keys:
            self._end(key, confirm=True)
        self.dispatch()

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs silently."""
        for key in keys:
            self._end(key, confirm=False)
        self.dispatch()

    def on_doubt(self, doubtful: bool) -> None:
        """Start nothing while the lease is in doubt."""
        if doubtful is not self._doubtful:
            self._doubtful = doubtful
            self.dispatch()

    def on_lease_lost(self) -> None:
        """End everything: the server has given these runs to others."""
        logger.warning("the lease lapsed; ending %d runs", self._in_hand)
        dropped = self.queue.clear() + self._transfers.clear()
        self.removed(sum(map(len, dropped)))
        for worker in list(self.crew.workers.values()):
            if worker.pieces:
                self.endings.abandon(worker)

    def on_drain(self) -> None:
        """Return what has not started, take nothing more."""
        self._draining = True
        self._leave()
        self.session.drain()
        self.requeue(self.queue.clear() + self._transfers.clear())
        for worker in self.crew.workers.values():
            for piece in reversed(worker.pieces.values()):
                worker.revoke(piece)

    def held(self) -> Iterable[pb.RunKey]:
        """Name every run in hand."""
        for piece in self._all_pieces():
            yield from piece.run_keys()

    def demand(self) -> Demand:
        """Say how much work is wanted; a run that waits for others takes no room."""
        sizer, crowding = self.sizer, self._crowding
        in_hand = self._in_hand - self.crew.blocked() - crowding.passable(self.queue.nested)
        return Demand(in_hand, sizer.window, sizer.chunk_size, crowding.crowded)

    # From the workers --------------------------------------------------------------------------------

    def on_frame(self, worker: Worker, kind: int, body: bytes) -> None:
        """Take a frame of a worker."""
        if kind == frames.REPORT:
            self._on_report(worker, body)
        elif kind == frames.LOGS:
            self.session.log(session_service_pb2.LogBatch.FromString(body))
        elif kind == frames.READY:
            (worker.pid,) = frames.READY_BODY.unpack(body)
            worker.ready = True
            if self._settings:
                worker.send(self._settings)
        else:
            self._on_blocked(worker, kind == frames.BLOCKED)

    def _on_report(self, worker: Worker, body: bytes) -> None:
        number, start, runs, busy_us, blobs = frames.REPORT_HEAD.unpack_from(body)
        piece = worker.pieces.get(number)
        if piece is None:
            logger.error("worker %d reported runs of chunk %d, which it does not have", worker.pid, number)
            return
        piece.start = start + runs
        if piece.start >= piece.stop:
            del worker.pieces[number]
            if worker.blocked and not worker.pieces:
                self._on_blocked(worker, False)  # it was a thread, which its run has left behind
        source, offset = piece.source, frames.REPORT_HEAD.size
        self.sizer.ended(runs, busy_us / 1e6)
        if blobs:
            self._transfers.upload(piece.part(start, start + runs), body[offset:], blobs)
            return
        self.removed(runs)
        self.session.report(source.first_epoch + start, source.ids_of(start, runs), body[offset:])

    def _on_blocked(self, worker: Worker, blocked: bool) -> None:
        worker.blocked = blocked and bool(worker.pieces)
        if worker.blocked:
            # What waits behind this run may be what the run waits for.
            for piece in reversed(worker.pieces.values()):
                worker.revoke(piece)
        self._weigh()
        self.crew.fit()

    def _weigh(self) -> None:
        """Look whether so many runs wait for others now that nothing new should be started."""
        if self._crowding.weigh(self.crew.blocked()):
            self.give_back(self.queue.take_last(self.queue.runs))  # others may start them, and room is needed
        self.session.wake()

    def on_revoked(self, worker: Worker, number: int, first: int) -> None:
        """Take back the tail of a piece."""
        piece = worker.pieces.get(number)
        if piece is None:
            return
        piece.revoking = False
        first = max(first, piece.start)
        if first < piece.stop:
            tail = piece.part(first, piece.stop)
            tail.unwanted = {at: confirm for at, confirm in piece.unwanted.items() if at >= first}
            piece.stop = first
            if piece.start >= piece.stop:
                del worker.pieces[number]
            self.requeue(self.endings.wanted(tail))

    def on_exit(self, worker: Worker, status: int | None) -> None:
        """Settle what a worker had that has ended; its last frames have been taken."""
        rest = self.endings.settle(worker, status)
        self._weigh()  # it may have been waiting for others
        self.requeue(rest)

    # Inside ------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give queued runs to workers that can take some: idle ones first, then a second chunk each."""
        if self._doubtful:
            return
        for depth in (0, 1) if self.sizer.pipelined else (0,):
            for worker in self.crew.workers.values():
                if not self.queue.runs:
                    break
                if worker.available and len(worker.pieces) == depth:
                    self._give(worker)
        self._overseer.arm()

    def _give(self, worker: Worker) -> None:
        piece = self.queue.take(self.sizer.chunk_size, self._crowding.crowded)
        if piece is None:
            return
        piece = piece.slimmed()
        if piece.source.blobs and not self._transfers.present(piece):
            self._transfers.fetch(piece)
            return
        worker.give(next(self._numbers), piece)

    def requeue(self, pieces: list[Piece]) -> None:
        """Put runs that have not started first in the queue, or return those that will not start here."""
        crowded = self._crowding.crowded
        unwanted = [piece for piece in pieces if self._draining or (crowded and not piece.source.nested)]
        self.give_back(unwanted)
        self.queue.put_back([piece for piece in pieces if piece not in unwanted])
        self.dispatch()

    def give_back(self, pieces: list[Piece]) -> None:
        """Return runs to the server."""
        for piece in pieces:
            self.session.give_back(piece.run_keys())
            self.removed(len(piece))

    def removed(self, runs: int) -> None:
        """Count runs that are in hand no more."""
        self._in_hand -= runs
        self.session.wake()  # there is room again
        if self._in_hand == 0:
            self._empty.set()

    def reconsider(self) -> None:
        """Start something new after all, when nothing comes that the waiting runs could be waiting for."""
        idle = any(worker.available and not worker.pieces for worker in self.crew.workers.values())
        if self._crowding.look(self.crew.blocked(), idle, self._loop.time()):
            self.session.wake()

    def _end(self, key: pb.RunKey, confirm: bool) -> None:
        if self.queue.remove(key) or self._transfers.remove(key):
            self.removed(1)
            if confirm:
                self.session.cancelled(key)
            return
        for worker in self.crew.workers.values():
            for piece in worker.pieces.values():
                position = piece.find(key)
                if position is not None:
                    self.endings.end(worker, piece, position, confirm)
                    return

    def stop_running(self) -> None:
        """End the runs that are still executing: the agent's grace is over."""
        for worker in list(self.crew.workers.values()):
            executing = worker.executing()
            if executing is not None:
                piece, progress = executing
                self.endings.kill(worker, Why.STOPPED, piece.key(progress.position))

    async def emptied(self) -> None:
        """Wait until no run is in hand."""
        await self._empty.wait()

    def _template(self, definition: template_pb2.TemplateDefinition) -> Template:
        known = self._last_template
        if known is not None and known.definition is definition:
            return known
        # Streams number templates anew; workers keep them by what they are.
        key = definition.template.SerializeToString(deterministic=True)
        local = self._templates.pop(key, None)
        if local is None:
            local = Template(next(self._numbers), definition)
            if len(self._templates) >= MAX_TEMPLATES:
                del self._templates[next(iter(self._templates))]
        self._templates[key] = self._last_template = local
        return local

    def _all_pieces(self) -> Iterable[Piece]:
        yield from self.queue
        yield from self._transfers.pieces()
        for worker in self.crew.workers.values():
            yield from worker.pieces.values()

    def _blobs_in_use(self) -> Iterable[bytes]:
        for piece in self._all_pieces():
            yield from piece.source.blobs
        yield from self._transfers.results()
