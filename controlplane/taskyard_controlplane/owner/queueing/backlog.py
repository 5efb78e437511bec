"""Queued runs beyond the memory window.

Per lane and priority a window of ready runs is in memory; further submissions only leave rows, which are read
back in order when the window runs low. So memory and the cost of a dispatch do not grow with the queue.

A lane holds runs with equal needs, as the ready queues do, or else a window full of runs that no agent can
execute would hide all others behind it. Its name stands in the database where a queue was named by releases
that did not keep needs apart: a lane called like a queue is their backlog, with runs of any need. It is added
to until it is empty, so that nothing overtakes what it holds.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.admission import waits_of
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.matching import Need
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.queued_endings import QueuedEndings
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.templates import Beside, FoundRuns, Templates
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.parking import WAITING_LANE, Parking
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.storage.interface import BacklogPage, Store

WINDOW: Final = 20_000
"""Some 8 MB of records, and a second of work where runs are shortest: time enough to read the next page."""

_ENQUEUE: Final = int(Effect.ENQUEUE)


def page_of(window: int) -> int:
    """Return how many runs are read at a time, and below how many ready ones that is done: two pages fit into
    the window, so that one is ready while the next is read.
    """
    return max(1, window * 2 // 5)


Key = tuple[str, int]  # lane, priority

MAX_OWN: Final = 4_096
"""Templates whose places are remembered; they are looked up again when so many have come."""


class Backlog:
    """Counts of what is only in the database, and the reading back of it."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        stored: StoredRuns,
        templates: Templates,
        admission: Admission,
        dispatcher: Dispatcher,
        settling: Settling,
        endings: QueuedEndings,
        parking: Parking,
        window: int,
    ) -> None:
        """Spill beyond `window` runs, and enqueue with `dispatcher` what comes back.

        Runs that wait for others stand in the same table, and are left to `parking`.
        """
        self._store = store
        self._committer = committer
        self._journal = journal
        self._stored = stored
        self._templates = templates
        self._admission = admission
        self._dispatcher = dispatcher
        self._settling = settling
        self._endings = endings
        self._parking = parking
        self._window = window
        self._low = self._page = page_of(window)
        self._needs: dict[str, set[Need]] = {}
        """What is known to be in a lane: one need, unless an earlier release wrote it."""
        self._own: dict[int, tuple[Key, deque[Run]]] = {}
        """Where the runs of a template wait while there is no backlog, by its number."""
        self._counts: dict[Key, int] = {}
        self._last_read: dict[Key, int] = {}
        self._reading: set[Key] = set()
        self._incoming: dict[Key, int] = {}
        self._from: dict[Key, int] = {}

    def count(self) -> int:
        """Return how many runs are only in the database."""
        return sum(self._counts.values()) + self._parking.count()

    def count_before(self, need: Need, priority: int, *, due: bool = False) -> int:
        """Return how many runs are only in the database with those of a need and priority; at least one.

        Args:
            need: What they need.
            priority: Their priority.
            due: Whether those are meant that have waited for others, and are read back one by one.
        """
        if due:
            return max(1, self._parking.count_due(need, priority))
        return max(
            1, self._counts.get((need.lane, priority), 0) + self._counts.get((need.queue, priority), 0)
        )

    def low_seq(self) -> int | None:
        """Return a number that no seq in the backlog is below; None when the backlog is empty."""
        lows = [self._from[key] for key, count in self._counts.items() if count]
        parked = self._parking.low_seq()
        return min(lows if parked is None else [*lows, parked], default=None)

    def recover(self, counts: list[tuple[str, int, int]], low_seq: int) -> None:
        """Take over what the database has; no open run has a lower seq than `low_seq`."""
        self._counts = {(lane, priority): count for lane, priority, count in counts if lane != WAITING_LANE}
        self._from = dict.fromkeys(self._counts, low_seq)

    def admits(self, template: Template, count: int) -> bool:
        """Whether so many new runs of a template should leave only rows."""
        if not self._counts and not self._parking.due:
            # There is no backlog at all, so nothing but the template decides where its runs wait. That is
            # looked up once: names and needs are compared by their texts, and this is asked for every run.
            own = self._own.get(template.template_id)
            if own is None:
                if len(self._own) >= MAX_OWN:
                    self._own.clear()
                own = self._own[template.template_id] = self._own_lane(template)
            key, ready = own
            incoming = self._incoming.get(key, 0) + count
            if len(ready) + incoming <= self._window:
                self._incoming[key] = incoming
                return False
            return True
        key = self._key(template)
        self._needs.setdefault(key[0], set()).add(template.need)
        if self._counts.get(key) or self._parking.has_due(template):
            # Behind a backlog everything queues up, or later runs would overtake earlier ones.
            return True
        if self._waiting(key) + self._incoming.get(key, 0) + count > self._window:
            return True
        self._incoming[key] = self._incoming.get(key, 0) + count
        return False

    def _own_lane(self, template: Template) -> tuple[Key, deque[Run]]:
        need, priority = template.need, template.priority
        self._needs.setdefault(need.lane, set()).add(need)
        return (need.lane, priority), self._dispatcher.runs(need, priority)

    def _key(self, template: Template) -> Key:
        of_any_need = (template.queue, template.priority)
        return of_any_need if self._counts.get(of_any_need) else (template.need.lane, template.priority)

    def _waiting(self, key: Key) -> int:
        lane, priority = key
        return sum(len(self._dispatcher.runs(need, priority)) for need in self._needs.get(lane, ()))

    def arrived(self) -> None:
        """Note that everything `admits` let through has been committed and enqueued."""
        self._incoming.clear()

    def add(self, template: Template, seqs: range) -> None:
        """Let new runs, whose rows are in the open commit, wait in the database."""
        key = self._key(template)
        self._journal.backlogged(*key, seqs)
        if not self._counts.get(key):
            self._from[key] = seqs[0]
        self._counts[key] = self._counts.get(key, 0) + len(seqs)

    def refused(self, added: list[tuple[str, int, int]]) -> None:
        """Take back rows that could not be written."""
        for lane, priority, _ in added:
            if lane != WAITING_LANE:  # these are found missing when they are due
                self._counts[lane, priority] -= 1

    def tidy(self) -> None:
        """Let go of what has ended in the ready queues, and of what is known of lanes that are no more."""
        if self._dispatcher.ready.tidy():
            self._own.clear()
            known = self._dispatcher.ready.queues
            lanes = {lane for lane, _ in self._counts}
            self._needs = {
                lane: needs for lane, needs in self._needs.items() if lane in lanes or needs & known.keys()
            }

    def refill(self) -> None:
        """Read back where the window runs low. Cheap when there is nothing to do."""
        if self._parking.due:
            self._parking.refill()
        if not self._counts:
            return
        for key, count in list(self._counts.items()):
            if not count:
                del self._counts[key]
            elif key not in self._reading and self._waiting(key) < self._low:
                self._read(key)

    def _read(self, key: Key) -> None:
        lane, priority = key
        self._reading.add(key)
        after, limit = self._last_read.get(key, -1), self._page

        def read() -> tuple[BacklogPage, Beside]:
            page = self._store.backlog_page(lane, priority, after, limit)
            return page, self._templates.beside(page.rows)

        future = self._committer.run(read)

        def done(_: object) -> None:
            self._reading.discard(key)
            if future.cancelled() or future.exception() is not None:
                return  # the next refill tries again
            page, beside = future.result()
            self._came_back(key, page, self._templates.take(beside))

        future.add_done_callback(done)

    def _came_back(self, key: Key, page: BacklogPage, found: FoundRuns) -> None:
        if page.looked_at < self._page:
            # The end was reached. What the page could not see is in the commit that is open now, because
            # reading and committing take turns.
            self._counts[key] = self._journal.backlogged_in(*key)
        else:
            self._counts[key] = max(1, self._counts.get(key, 0) - page.looked_at)
        if page.looked_at:
            self._needs.setdefault(key[0], set()).update(template.need for template in found.templates)
            self._last_read[key] = page.last_seq
            self._from[key] = page.last_seq + 1
            self._journal.taken_from_backlog(*key, page.last_seq)
            self.let_in(self._stored.load(found).values())

    def let_in(self, runs: Iterable[Run]) -> None:
        """Let runs that came back from the database wait for what they wait for, or start."""
        for run in runs:
            if run.template.refusal is not None:
                self._settling.end_refused(run)
            elif self._endings:
                self._endings.end_if_due(run)
            # What is not READY is a run in memory with the same id, or about to end.
            if run.state == RunState.READY and self._admission.enter(run, waits_of(run)) & _ENQUEUE:
                self._dispatcher.enqueue(run)
        self._dispatcher.pump()
