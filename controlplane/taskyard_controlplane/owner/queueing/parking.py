"""Runs that wait for others, beyond the number of open runs that memory holds.

Like the backlog, which has runs that wait for their turn, this leaves of a run nothing but its row, and a row
in the same table under a lane that no queue can have; in memory there is only who waits for what
(`rules.parked`). So what a million of them cost, and how long it takes to find them again after a restart, is
what their edges take. Whether a new run is parked depends on how many runs are open in memory, whatever they
wait for; so what is usual never comes here, and pays nothing.

A run comes back when it is due, a page at a time and in the order in which they became it, as far as the
queue it will stand in runs low. Then it is connected like a new run: it finds how its upstream runs ended
among those that ended a moment ago, or asks the database.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.admission import Wait, waits_of
from taskyard_controlplane.domain.edges import Edge, pack_edges, split_edges, waits_late
from taskyard_controlplane.domain.machine import admit
from taskyard_controlplane.domain.matching import Need
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.queued_endings import QueuedEndings
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.templates import FoundRuns, Templates
from taskyard_controlplane.owner.peers.client_session import share_number
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.parked_circles import ParkedCircles
from taskyard_controlplane.owner.queueing.standing import NOBODYS, share_of
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.parked import MOST_LANES, Parked
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.rules.upstream import UpstreamEdges
from taskyard_controlplane.storage.interface import ParkedRow, Store

MOST_OPEN: Final = 50_000
"""Open runs in memory, some 50 MB, from which on new ones that wait for others are parked."""
READ_AT_ONCE: Final = 2_048
"""So many are read back at a time, however few are ready: those that find that they cannot go on end at once,
and memory would hold their records, rows and outcomes until two commits are over."""
OWN_LANES: Final = MOST_LANES // 2
"""So many lanes are those of single sessions; beyond, sessions share one of a need and a priority."""
WAITING_LANE: Final = ""
"""Where they stand in the table of the backlog: no queue has an empty name."""

_CONNECT: Final = int(Wait.UPSTREAM)
_NOT_ALONE: Final = int(Wait.SESSION)


class Parking:
    """Decides which runs are parked, and brings them back."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        book: RunBook,
        stored: StoredRuns,
        templates: Templates,
        upstream: UpstreamEdges,
        admission: Admission,
        dispatcher: Dispatcher,
        settling: Settling,
        endings: QueuedEndings,
        circles: ParkedCircles,
        page: int,
        most_open: int,
    ) -> None:
        """Park beyond `most_open` runs in memory; read back `page` runs at a time."""
        self._store = store
        self._committer = committer
        self._journal = journal
        self._runs = book.runs
        self._stored = stored
        self._templates = templates
        self._upstream = upstream
        self._parked: Parked = upstream.parked
        self._parked_for = upstream.parked.awaited
        self._admission = admission
        self._dispatcher = dispatcher
        self._settling = settling
        self._endings = endings
        self._circles = circles
        self._page = page
        self._most_open = most_open
        self.due = self._parked.due
        """What is due; looked at before anything here is asked, where that happens for every run."""
        self._lanes: dict[tuple[Need, int, int], int] = {}
        self._by_number: list[tuple[Need, int, int]] = []
        self._reading: set[int] = set()

    def count(self) -> int:
        """Return how many runs are parked."""
        return self._parked.count

    def count_due(self, need: Need, priority: int, share: int) -> int:
        """Return how many runs of a lane are due and not read yet."""
        lane = self._lanes.get((need, priority, share))
        return len(self.due.get(lane, ())) if lane is not None else 0

    def low_seq(self) -> int | None:
        """Return a number that no parked run has a lower seq than; None when none is parked."""
        return self._parked.low_seq

    def parks(self, run: Run, waits: int, edges: Sequence[Edge]) -> bool:
        """Park a new run, if it is one that should be; then there is nothing more to do for it."""
        if self._parked_for and run.run_id in self._parked_for:
            self._circles.may_be_closed()
        if not waits & _CONNECT or waits & _NOT_ALONE or run.caller_id or len(self._runs) < self._most_open:
            return False
        if waits_late(edges):
            return False  # it would be read back for each of these that is not there
        if self._upstream.waits_late_for(run.run_id):
            return False  # one of those that were there before it may be what it waits for
        lane = self._lane(run.template, share_of(run))
        if lane is None or not self._upstream.park(run.seq, lane, edges):
            return False
        if self._upstream.waits_for(run.run_id):
            self._circles.may_be_closed()
        admit(run, waits)
        run.upstream = pack_edges(edges)
        self._journal.queued(run)
        self._journal.backlogged(WAITING_LANE, 0, (run.seq,))
        return True

    def _lane(self, template: Template, share: int) -> int | None:
        """Return the number of the lane that runs will stand in, None if there are too many."""
        lane = (template.need, template.priority, share)
        number = self._lanes.get(lane)
        if number is not None:
            return number
        if len(self._lanes) >= OWN_LANES and share != NOBODYS:
            # Numbers cannot be given anew as long as any are in use.
            if self._parked.kept() or self.due or self._reading:
                return self._lane(template, NOBODYS)
            self._lanes.clear()
            self._by_number.clear()
        if len(self._lanes) >= MOST_LANES:
            return None
        number = self._lanes[lane] = len(self._lanes)
        self._by_number.append(lane)
        return number

    def restore(self, rows: Sequence[ParkedRow], templates: Mapping[int, Template]) -> None:
        """Park again, during recovery, what was parked; how upstream runs ended is for the caller to ask."""
        lanes = {
            (number, session_id): self._lane(templates[number], share_number(session_id)) or 0
            for number, session_id in {(row[1], row[3]) for row in rows}
        }
        self._parked.restore(rows, lanes)

    def refill(self) -> None:
        """Read back what is due where few runs are ready. Cheap when nothing is."""
        for lane in list(self.due):
            if lane not in self._reading and self._is_low(*self._by_number[lane]):
                self._reading.add(lane)
                seqs = self._parked.take(lane, min(self._page, READ_AT_ONCE))
                if self._journal.has_backlogged:
                    # Behind the commit that is open: some may be in there and nowhere else.
                    self._journal.then(lambda lane=lane, seqs=seqs: self._read(lane, seqs))  # type: ignore[misc]
                else:
                    self._read(lane, seqs)

    def _is_low(self, need: Need, priority: int, share: int) -> bool:
        queue = self._dispatcher.ready.queue_of(need)
        return queue.waiting(share, priority) * max(1, queue.ready.sessions(priority)) < self._page

    def has_due(self, template: Template, share: int) -> bool:
        """Whether runs that are due will stand before new ones of a template and a session."""
        need, priority = template.need, template.priority
        return any(self._lanes.get((need, priority, each)) in self.due for each in {share, NOBODYS})

    def _read(self, lane: int, seqs: list[int]) -> None:
        future = self._committer.run(lambda: self._templates.beside(self._store.heads_by_seq(seqs)))

        def done(_: object) -> None:
            if future.cancelled() or future.exception() is not None:
                self._parked.put_back(lane, seqs)
                self._reading.discard(lane)  # the next refill tries again
            else:
                self._came_back(lane, seqs, self._templates.take(future.result()))

        future.add_done_callback(done)

    def _came_back(self, lane: int, seqs: list[int], rows: FoundRuns) -> None:
        mine = set(seqs)
        for row in rows:
            known = self._runs.get(row.run_id)
            if known is not None and known.seq != row.seq:
                # Its id is being used again, which the next commit will refuse.
                mine.discard(row.seq)
                self._parked.put_back(lane, (row.seq,))
        unknown = rows.only(lambda row: row.run_id not in self._runs)
        # Also those that were refused, or cancelled meanwhile: of them only this is left.
        self._journal.taken_one_by_one(sorted(mine))
        self._parked.read(mine)
        for run in self._stored.load(unknown).values():
            if run.template.refusal is not None:
                self._settling.end_refused(run)
            elif self._endings:
                self._endings.end_if_due(run)
            if run.state == RunState.PENDING:
                edges = split_edges(run.upstream or b"")
                self._admission.enter(run, waits_of(run, upstream=True), edges)
                self._journal.resumed(run)
        # Until they are in their queue, or it would be found low once more: that takes two commits.
        self._journal.then(lambda: self._journal.then(lambda: self._reading.discard(lane)))
