"""Queued runs beyond the memory window.

Per session, need and priority a window of ready runs is in memory; further submissions only leave rows, which
are read back in order when the window runs low. So memory and the cost of a dispatch do not grow with the
queue. The more sessions wait beside each other, the smaller is the window of each: so memory is bounded for
all of them together, and however many runs one of them has, those of another get into it, and there sessions
take turns.

What is only in the database stands in lanes. A lane holds runs of one session with equal needs, or else a
window full of runs that no agent can execute, or of a session that has very many, would hide all others
behind it. Its name stands in the database where earlier releases named a queue, or a need: a lane called like
one of these is their backlog, with runs of any need or session. Such a lane is added to until it is empty, so
that nothing overtakes what it holds.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.admission import waits_of
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.matching import Need
from taskyard_controlplane.domain.model import Run, Submitter, Template
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.queued_endings import QueuedEndings
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.templates import Beside, FoundRuns, Templates
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.parking import WAITING_LANE, Parking
from taskyard_controlplane.owner.queueing.ready_queues import ReadyQueue
from taskyard_controlplane.owner.queueing.standing import NOBODYS, share_of
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import BacklogPage, Store

WINDOW: Final = 20_000
"""Some 8 MB of records, and a second of work where runs are shortest: time enough to read the next page."""
LEAST_WINDOW: Final = 256
"""What each session has however many there are: a chunk of the quickest runs."""
FEW_LANES: Final = 64
"""So many are looked at with each commit, which takes half a millisecond."""
REST_SECONDS: Final = 0.0001
"""For each lane, where there are more: ten times what looking at it takes, and little of what its window is
enough for, as so many others have turns."""

_ENQUEUE: Final = int(Effect.ENQUEUE)


def page_of(window: int) -> int:
    """Return how many runs are read at a time, and below how many ready ones that is done: two pages fit into
    the window, so that one is ready while the next is read.
    """
    return max(1, window * 2 // 5)


Key = tuple[str, int]  # lane, priority
Place = tuple[ReadyQueue, int]  # and share

MAX_OWN: Final = 4_096
"""Lanes of a template and session that are remembered; they are named again when so many have come."""


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
        timers: Timers,
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
        self._timers = timers
        self._window = window
        self._places: dict[Key, set[Place]] = {}
        """Where the runs of lanes with a backlog are in memory: in one place, unless an earlier release wrote
        them."""
        self._own: dict[tuple[int, int], tuple[Key, ReadyQueue]] = {}
        """Where the runs of a template and a session wait, by their numbers."""
        self._counts: dict[Key, int] = {}
        self._last_read: dict[Key, int] = {}
        self._reading: set[Key] = set()
        self._resting = False
        """Whether all lanes were looked at a moment ago."""
        self._incoming: dict[Key, int] = {}
        self._from: dict[Key, int] = {}

    def count(self) -> int:
        """Return how many runs are only in the database."""
        return sum(self._counts.values()) + self._parking.count()

    def beyond(self, share: int, priority: int) -> int:
        """Return how many runs of a session are only in the database, at a priority; for people.

        Of what was queued before a restart nothing is known before some of it has been read back.
        """
        return sum(
            count
            for key, count in self._counts.items()
            if key[1] == priority and any(of == share for _, of in self._places.get(key, ()))
        )

    def beside(self, need: Need, priority: int, share: int, *, due: bool = False) -> int:
        """Return how many runs are only in the database with one of a session; for people. At least one.

        Args:
            need: What it needs.
            priority: Its priority.
            share: The number of the session.
            due: Whether it has waited for others, and is read back one by one.
        """
        if due:
            return max(1, self._parking.count_due(need, priority, share))
        lanes = (f"{need.lane}, session {share:x}", need.lane, need.queue)
        return max(1, sum(self._counts.get((lane, priority), 0) for lane in lanes))

    def low_seq(self) -> int | None:
        """Return a number that no seq in the backlog is below; None when the backlog is empty."""
        lows = [self._from[key] for key, count in self._counts.items() if count]
        parked = self._parking.low_seq()
        return min(lows if parked is None else [*lows, parked], default=None)

    def recover(self, counts: list[tuple[str, int, int]], low_seq: int) -> None:
        """Take over what the database has; no open run has a lower seq than `low_seq`."""
        self._counts = {(lane, priority): count for lane, priority, count in counts if lane != WAITING_LANE}
        self._from = dict.fromkeys(self._counts, low_seq)

    def admits(self, template: Template, session: Submitter | None, count: int) -> bool:
        """Whether so many new runs of a template and a session should leave only rows."""
        share = session.share if session is not None else NOBODYS
        key, queue = self._own_lane(template, share)
        if self._counts or self._parking.due:
            key = self._key(template, share)
            if self._counts.get(key) or self._parking.has_due(template, share):
                # Behind a backlog everything queues up, or later runs would overtake earlier ones.
                return True
        waiting = queue.waiting(share, template.priority)
        incoming = self._incoming.get(key, 0) + count
        sessions = queue.ready.sessions(template.priority) + (not waiting)
        if waiting + incoming > self._window_among(sessions):
            return True
        self._incoming[key] = incoming
        return False

    def _window_among(self, sessions: int) -> int:
        """Return how many runs each of some sessions has in memory."""
        return max(self._window // max(1, sessions), min(LEAST_WINDOW, self._window))

    def _own_lane(self, template: Template, share: int) -> tuple[Key, ReadyQueue]:
        # Looked up once: names and needs are compared by their texts, and this is asked for every run.
        own = self._own.get((template.template_id, share))
        if own is None:
            if len(self._own) >= MAX_OWN:
                self._own.clear()
            key = f"{template.need.lane}, session {share:x}", template.priority
            own = self._own[template.template_id, share] = key, self._dispatcher.ready.of_template(template)
        return own

    def _key(self, template: Template, share: int) -> Key:
        """Return where runs of a session wait: with those of others, if an earlier release has put any."""
        for lane in (template.queue, template.need.lane):
            if self._counts.get((lane, template.priority)):
                return lane, template.priority
        return self._own_lane(template, share)[0]

    def _waiting(self, key: Key) -> int:
        return sum(queue.waiting(share, key[1]) for queue, share in self._places.get(key, ()))

    def _low(self, key: Key, lanes: int) -> int:
        """Return below how many ready runs of a lane more are read, which is as many; others have as many
        `lanes` at its priority.
        """
        sessions = [queue.ready.sessions(key[1]) for queue, _ in self._places.get(key, ())]
        return page_of(self._window_among(max(lanes, *sessions, 1)))

    def arrived(self) -> None:
        """Note that everything `admits` let through has been committed and enqueued."""
        self._incoming.clear()

    def add(self, template: Template, session: Submitter | None, seqs: range) -> None:
        """Let new runs, whose rows are in the open commit, wait in the database."""
        share = session.share if session is not None else NOBODYS
        key = self._key(template, share)
        self._places.setdefault(key, set()).add((self._own_lane(template, share)[1], share))
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
            known = set(self._dispatcher.ready.queues.values())
            for places in self._places.values():
                places -= {place for place in places if place[0] not in known}

    def refill(self) -> None:
        """Read back where the window runs low. Cheap when there is nothing to do."""
        if self._parking.due:
            self._parking.refill()
        if not self._counts or self._resting:
            return
        if len(self._counts) > FEW_LANES:
            self._resting = True
            self._timers.after(len(self._counts) * REST_SECONDS, self._go_on, name="look at the backlog")
        lanes = Counter(priority for _, priority in self._counts)
        for key, count in list(self._counts.items()):
            if key in self._reading:
                continue
            if not count:
                self._forget(key)
                continue
            low = self._low(key, lanes[key[1]])
            if self._waiting(key) < low:
                self._read(key, low)

    def _go_on(self) -> None:
        self._resting = False
        self.refill()

    def _forget(self, key: Key) -> None:
        del self._counts[key]
        self._places.pop(key, None)
        self._from.pop(key, None)
        self._journal.then(lambda: self._forget_last_read(key))  # when the rows are gone that were read

    def _forget_last_read(self, key: Key) -> None:
        if key not in self._counts:
            self._last_read.pop(key, None)

    def _read(self, key: Key, limit: int) -> None:
        lane, priority = key
        self._reading.add(key)
        after = self._last_read.get(key, -1)

        def read() -> tuple[BacklogPage, Beside]:
            page = self._store.backlog_page(lane, priority, after, limit)
            return page, self._templates.beside(page.rows)

        future = self._committer.run(read)

        def done(_: object) -> None:
            self._reading.discard(key)
            if future.cancelled() or future.exception() is not None:
                return  # the next refill tries again
            page, beside = future.result()
            self._came_back(key, page, limit, self._templates.take(beside))

        future.add_done_callback(done)

    def _came_back(self, key: Key, page: BacklogPage, limit: int, found: FoundRuns) -> None:
        if page.looked_at < limit:
            # The end was reached. What the page could not see is in the commit that is open now, because
            # reading and committing take turns.
            self._counts[key] = self._journal.backlogged_in(*key)
        else:
            self._counts[key] = max(1, self._counts.get(key, 0) - page.looked_at)
        if page.looked_at:
            self._last_read[key] = page.last_seq
            self._from[key] = page.last_seq + 1
            self._journal.taken_from_backlog(*key, page.last_seq)
            runs = self._stored.load(found).values()
            of_template = self._dispatcher.ready.of_template
            kinds = {(run.template, share_of(run)) for run in runs}
            places = {(of_template(template), share) for template, share in kinds}
            self._places.setdefault(key, set()).update(places)
            self.let_in(runs)

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
