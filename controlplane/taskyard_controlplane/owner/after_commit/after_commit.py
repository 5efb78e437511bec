"""What follows a commit, in the order that is promised.

Theory of operation. Whatever is applied to a record while a frame is read stays invisible until the commit
with its rows has succeeded; then everything that others can see happens here, in one go, before anything else
gets to run. What this itself changes goes into the next commit. Nothing here can fail for a reason that a
peer or a user is to blame for: an exception is a defect, and ends the process (`Committer._finish`), because
state in memory that was applied halfway must not be written on.

The steps, and why in this order:
1. Acknowledgements of submissions are noted; nothing is sent before the end.
2. Runs whose ids the database had are taken back, before they could be enqueued as what they are not. Then
   those who follow runs or logs from outside are told which, while all of these are still known; they come to
   look when all of the below is done.
3. New runs go on: into their queue, or to wait for what they wait for. Before effects, because a run that was
   cancelled in the same commit is enqueued and, being ended, passed over; the other way round, an end would
   be told of a run that later turns up in a queue.
4. Acknowledgements of reports, and of log records, are noted: what they report is durable. They wait, and
   nothing else does, until all records that came before are stored, too. What the commit
   says of runs is sent to those who are to be shown it.
5. Effects, in the order in which the transitions happened.
6. Answers of the database to questions that rode on the commit. After effects, because a run that ended in
   this commit has delivered itself by then, and is found as recent by whoever asks again.
7. Decisions about runs that sessions execute; and whatever else waited (`then`), last, so that whoever waited
   for durability sees all of the above done.
8. Sessions are woken, once each. Then upkeep: rows of dispatches that nobody needs, the backlog, and a round
   of the dispatcher, which now sees everything that became ready.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from taskyard_contract.errors import StorageFull
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.owner.after_commit.acknowledgements import Acknowledgements
from taskyard_controlplane.owner.after_commit.performers import Endings, Performers
from taskyard_controlplane.owner.after_commit.refusals import Refusals
from taskyard_controlplane.owner.after_commit.unstorable import Unstorable
from taskyard_controlplane.owner.journal.changes import Changes
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.log_tails import LogTails
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.journal.watchers import Told
from taskyard_controlplane.owner.logs.writer import LogWriter
from taskyard_controlplane.owner.queueing.backlog import Backlog
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.rules.cache import CacheFlights
from taskyard_controlplane.owner.rules.upstream import UpstreamEdges
from taskyard_controlplane.storage.interface import CommitResult, RefusedRow

_ENDED: Final = int(Effect.NOTIFY)
_INSIDE_TOO: Final = int(Effect.CANCEL_INSIDE)
"""All that the end of a run may bring about beside what every end does."""


class AfterCommit:
    """Does what had to wait until a commit was durable: answers, effects, results of look-ups."""

    def __init__(
        self,
        book: RunBook,
        journal: Journal,
        templates: Templates,
        upstream: UpstreamEdges,
        cache: CacheFlights,
        dispatcher: Dispatcher,
        backlog: Backlog,
        *,
        acknowledgements: Acknowledgements,
        refusals: Refusals,
        unstorable: Unstorable,
        endings: Endings,
        performers: Performers,
        changes: Changes,
        tails: LogTails,
        logs: LogWriter,
    ) -> None:
        self._book = book
        self._journal = journal
        self._templates = templates
        self._upstream = upstream
        self._cache = cache
        self._dispatcher = dispatcher
        self._backlog = backlog
        self._acknowledgements = acknowledgements
        self._refusals = refusals
        self._unstorable = unstorable
        self._endings = endings
        self._performers = performers
        self._changes = changes
        self._tails = tails
        self._logs = logs

    def committed(self, commit: Commit, result: CommitResult) -> None:
        """Do everything that was to be done after a commit."""
        # A set in order, so that who is told first does not depend on addresses of objects.
        told: Told = dict.fromkeys(self._acknowledgements.accepted(commit.accepted))
        self._templates.committed(commit.rows.templates)
        if result.duplicates:
            self._refusals.duplicates(commit, result.duplicates)
        if self._changes.watched:
            self._changes.committed(commit)
        if self._tails.waiting:
            self._tails.committed(commit)
        self._go_on(commit)
        if commit.log_batch > self._logs.written:
            self._logs.when_written(commit.log_batch, partial(self._acknowledge, commit))
        else:
            self._acknowledge(commit)
        for listener, record in commit.lines:  # before the outcomes of the same runs
            listener.push_log(record)
            told[listener] = None
        self._perform(commit, told)
        if commit.rows.lookup_runs:
            self._upstream.looked_up(commit.rows.lookup_runs, result.runs)
        if commit.rows.lookup_keys:
            self._cache.looked_up(commit.rows.lookup_keys, result.cached)
        for session, decision in commit.decided:
            session.decide(decision)
            told[session] = None
        actions, commit.then = commit.then, []  # one that knows its commit would keep it, and all in it
        for action in actions:
            action()
        for each in told:
            each.wake()
        if self._logs.counts.runs:
            self._logs.forget(run.seq for run, _ in commit.effects if run.ended)
        self._upkeep()

    def refused(self, commit: Commit, error: StorageFull, *, behind: bool) -> None:
        """Take the new runs out of a commit that the database has no room for."""
        self._refusals.full(commit, error, behind=behind)

    def set_aside(self, commit: Commit, found: Sequence[RefusedRow]) -> None:
        """Take rows that can never be written out of a commit, and end the runs they are about in it."""
        self._unstorable.set_aside(commit, found)

    def _acknowledge(self, commit: Commit) -> None:
        self._acknowledgements.reported(commit.reported)
        if commit.logged:
            self._acknowledgements.logged(commit.logged)

    def _go_on(self, commit: Commit) -> None:
        for run in self._dispatcher.enqueue_new(commit.submitted):
            if run.upstream is not None:
                self._upstream.submitted(run)
        self._backlog.arrived()

    def _perform(self, commit: Commit, told: Told) -> None:
        end, perform = self._endings.perform, self._performers.perform
        for run, effects in commit.effects:
            if effects & _ENDED:
                end(run, told)
                if effects & _INSIDE_TOO:
                    perform(run, effects)
            else:
                perform(run, effects)

    def _upkeep(self) -> None:
        below = self._dispatcher.forget()
        # What an earlier owner logged is needed until its agents have said what they still hold.
        if below is not None and not self._book.orphans:
            self._journal.dispatches_over_below(below)
        self._book.forget_old()
        self._backlog.refill()
        self._dispatcher.pump()
