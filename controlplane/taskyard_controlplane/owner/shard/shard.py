"""A shard: the parts that together own some runs, made and connected in the order in which they build on each
other.

It does nothing itself. Invariant of all of it: nothing of a run is shown to anybody before the commit that
made it durable.
"""

from typing import NamedTuple

from taskyard_contract.clock import Clock
from taskyard_contract.payload_limits import MAX_PAYLOAD_BYTES
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.after_commit.acknowledgements import Acknowledgements
from taskyard_controlplane.owner.after_commit.after_commit import AfterCommit
from taskyard_controlplane.owner.after_commit.performers import Endings, Performers
from taskyard_controlplane.owner.after_commit.refusals import Refusals
from taskyard_controlplane.owner.after_commit.unstorable import Unstorable
from taskyard_controlplane.owner.journal.changes import Changes
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.log_tails import LogTails
from taskyard_controlplane.owner.journal.queued_endings import QueuedEndings
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.journal.watchers import Watchers
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.owner.logs.writer import LogWriter
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.needed_runs import NeededRuns
from taskyard_controlplane.owner.peers.roster import Roster
from taskyard_controlplane.owner.queueing.backlog import WINDOW, Backlog, page_of
from taskyard_controlplane.owner.queueing.delivery import Delivery
from taskyard_controlplane.owner.queueing.dispatch_log import DispatchLog
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.parked_circles import ParkedCircles
from taskyard_controlplane.owner.queueing.parking import MOST_OPEN, Parking
from taskyard_controlplane.owner.queueing.submission import Submission
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.cache import CacheFlights
from taskyard_controlplane.owner.rules.cancelling import Cancelling
from taskyard_controlplane.owner.rules.flow_reports import FlowReports
from taskyard_controlplane.owner.rules.reporting import Reporting
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.rules.saying import Saying
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.rules.telling import Telling
from taskyard_controlplane.owner.rules.upstream import UpstreamEdges
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import Ownership, Store


class Limits(NamedTuple):
    """How large payloads are inline, and how many runs stay in memory."""

    max_inline_bytes: int
    """Largest payload inside another message."""
    window: int = WINDOW
    """Ready runs kept in memory per queue and priority."""
    most_open: int = MOST_OPEN
    """Open runs in memory, from which on new ones that wait for others are kept only in the database."""
    memory: MemoryLimits = DEFAULT_MEMORY
    """How much payload is kept."""
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    """Largest payload at all."""


class Shard:
    """The parts of a shard, made once it is known under which generation; used on one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        timers: Timers,
        committer: Committer,
        owned: Ownership,
        limits: Limits,
        delays: RetryDelays,
        logs: LogWriter,
    ) -> None:
        """Own, as `owned` says, what is in `store`, which `committer` uses; `delays` says when retries are
        due, and `logs` keeps what runs log.
        """
        self.generation = owned.generation
        self.succession = Succession(owned.generation, owned.next_seq)
        self.committer, self.timers, self.logs = committer, timers, logs
        self._make_journal(store, clock, limits.memory, owned.next_agent)
        self._make_rules(clock, metrics, limits, delays)
        self._make_queues(store, clock, metrics, owned, limits)
        self._follow_commits(clock, metrics)

    def _make_journal(self, store: Store, clock: Clock, memory: MemoryLimits, next_agent: int) -> None:
        self.book, self.roster = RunBook(memory), Roster(memory)
        self.templates = Templates(store, self.committer, memory)
        self.leaving = LeavingBlobs(clock.monotonic)
        """Blobs that nothing refers to."""
        self.journal = Journal(self.committer, self.logs.numbers, self.leaving, next_agent)
        self.watchers = Watchers(self.book)
        self.needed = NeededRuns()
        """Runs whose results open ones take, while somebody asks."""
        self.changes, self.tails = Changes(self.book, self.timers), LogTails(self.book)
        self.logs.on_written = lambda runs: self.tails.stored(runs) if self.tails.waiting else None
        self.logs.on_lost = lambda run_seq, flow_seq, count: self.journal.logs_lost(
            clock.now_us(), run_seq, flow_seq, count
        )
        self.stored = StoredRuns(
            store, self.committer, self.journal, self.book, self.roster, self.templates, self.timers, clock,
            self.succession,
        )  # fmt: skip
        self.endings = QueuedEndings(
            store, self.committer, self.journal, self.book, self.stored, self.templates, self.timers
        )
        self.roster.windows.read_back = self.stored.read_back

    def _make_rules(self, clock: Clock, metrics: Metrics, limits: Limits, delays: RetryDelays) -> None:
        telling = Telling(self.journal, self.book, clock)
        self.settling = Settling(self.journal, self.timers, clock, metrics, telling, delays)
        self.upstream = UpstreamEdges(self.book, self.journal, self.settling, limits.memory.inputs)
        self.cache = CacheFlights(self.settling, self.journal, self.templates, metrics, self.leaving)
        self.admission = Admission(self.upstream, self.cache)
        self.cancelling = Cancelling(self.settling, telling)
        max_inline_bytes = limits.max_inline_bytes
        self.flow_reports = FlowReports(
            self.book, self.journal, self.settling, telling, self.changes, clock, max_inline_bytes
        )
        self.saying = Saying(self.book, self.journal, self.succession, self.logs)
        self.reporting = Reporting(
            self.book, self.journal, self.settling, self.changes, clock, metrics, self.succession,
            self.saying, max_inline_bytes, self.roster.kept_values,
        )  # fmt: skip

    def _make_queues(
        self, store: Store, clock: Clock, metrics: Metrics, owned: Ownership, limits: Limits
    ) -> None:
        self.delivery = Delivery(
            store,
            self.committer,
            self.journal,
            self.settling,
            self.timers,
            self.book.ledger,
            self.book.progress,
            self.roster.kept_values,
        )
        log = DispatchLog(self.journal, clock, owned.next_dispatch)
        self.dispatcher = Dispatcher(
            self.delivery, log, self.templates, self.changes, metrics, self.timers,
            self.succession.first_epoch, self.roster.worlds, self.book.runs,
            self.roster.kept_values,
        )  # fmt: skip
        circles = ParkedCircles(
            store, self.committer, self.journal, self.stored, self.templates, self.settling
        )
        self.parking = Parking(
            store, self.committer, self.journal, self.book, self.stored, self.templates, self.upstream,
            self.admission, self.dispatcher, self.settling, self.endings, circles, page_of(limits.window),
            limits.most_open,
        )  # fmt: skip
        self.backlog = Backlog(
            store,
            self.committer,
            self.journal,
            self.stored,
            self.templates,
            self.admission,
            self.dispatcher,
            self.settling,
            self.endings,
            self.parking,
            self.timers,
            limits.window,
        )
        self.submission = Submission(
            self.book, self.watchers, self.journal, self.templates, self.admission, self.backlog,
            self.parking, clock, metrics, self.succession, limits.max_inline_bytes, limits.max_payload_bytes,
            limits.memory.uncommitted, self.needed,
        )  # fmt: skip

    def _follow_commits(self, clock: Clock, metrics: Metrics) -> None:
        refusals = Refusals(
            self.book, self.roster, self.journal, self.upstream, self.cache, self.backlog, self.watchers,
            metrics,
        )  # fmt: skip
        self.committer.serve(
            AfterCommit(
                self.book, self.journal, self.templates, self.upstream, self.cache, self.dispatcher,
                self.backlog,
                acknowledgements=Acknowledgements(self.timers, self.roster.log_marks),
                refusals=refusals,
                unstorable=Unstorable(
                    self.book, self.journal, self.templates, self.settling, refusals, clock, metrics
                ),
                endings=Endings(
                    self.book, self.upstream, self.cache, self.watchers, self.dispatcher.ready
                ),
                performers=Performers(
                    self.book, self.dispatcher, self.admission, self.cancelling, self.backlog, self.endings
                ),
                changes=self.changes,
                tails=self.tails,
                logs=self.logs,
            )
        )  # fmt: skip

    def kept(self) -> dict[str, int]:
        """Return how much is kept for runs that have not ended, by what keeps it: all zero when all have."""
        return {
            **self.book.kept(),
            "runs in the backlog": self.backlog.count(),
            "runs held by agents": sum(len(agent.held) for agent in self.roster.agents.values()),
            "runs executed by sessions": sum(len(each.executing) for each in self.roster.sessions.values()),
            "cache keys": self.cache.under_way,
            "unknown upstream runs": self.upstream.awaited,
            "awaited runs": len(self.watchers),
            "subscriptions to the backlog": self.stored.awaited,
            "sessions and flow runs that are being ended": len(self.endings),
            "bytes of payload": self.book.ledger.total,
            "chunks that wait for payload": self.delivery.waiting,
            "large bodies": len(self.delivery.bodies),
            "runs near their inputs": len(self.dispatcher.placement.delayed.waiting),
            "dispatches": len(self.dispatcher.log.entries),
        }
