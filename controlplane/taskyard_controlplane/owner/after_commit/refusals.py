"""The ways a database says no to new runs: it has their ids already, has no room, or cannot hold them.

Whichever it is, a run that was in memory turns out to never have been recorded. It is taken out of everything
it was put into, and everybody who knows of it is told: the session that submitted it, and another one if that
waits for it by now.
"""

import logging
from collections.abc import Container, Mapping, Sequence
from typing import Final

from taskyard_contract.errors import InvalidRequest, StorageFull, TaskyardError
from taskyard_contract.ids import format_id
from taskyard_controlplane.domain.machine import annul
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.templates import RECORD_BYTES
from taskyard_controlplane.owner.journal.watchers import Watchers
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.roster import Roster
from taskyard_controlplane.owner.queueing.backlog import Backlog
from taskyard_controlplane.owner.queueing.checks import submitted_before
from taskyard_controlplane.owner.rules.cache import CacheFlights
from taskyard_controlplane.owner.rules.upstream import UpstreamEdges
from taskyard_controlplane.storage.interface import NewRunRow

log = logging.getLogger(__name__)

_ARGS: Final = NewRunRow._fields.index("args")


class Refusals:
    """Takes runs back that the database did not, and tells everybody whom it concerns."""

    def __init__(
        self,
        book: RunBook,
        roster: Roster,
        journal: Journal,
        upstream: UpstreamEdges,
        cache: CacheFlights,
        backlog: Backlog,
        watchers: Watchers,
        metrics: Metrics,
    ) -> None:
        """Take runs out of `book`, and tell the sessions of `roster`."""
        self._book = book
        self._roster = roster
        self._journal = journal
        self._upstream = upstream
        self._cache = cache
        self._backlog = backlog
        self._watchers = watchers
        self._metrics = metrics

    def duplicates(self, commit: Commit, run_ids: Sequence[bytes]) -> None:
        """Refuse runs whose ids the database had; for those that wait for them, what it had counts."""
        commit.duplicates = frozenset(run_ids)
        new = {row.run_id: row for row in map(NewRunRow._make, commit.rows.new_runs)}
        submitted = set(commit.submitted)
        annulled: set[int] = set()
        for run_id in run_ids:
            run = self._book.runs.get(run_id)
            if run is not None and run in submitted:
                annulled.add(run.seq)
                self._take_back(run)
                self._upstream.look_up(run)
            self._tell(commit, new[run_id], run, submitted_before(run_id))
        if annulled:
            # One that was cancelled meanwhile has ended only here. Performed, its end would reach those that
            # wait for the recorded run, and be remembered as how that one ended.
            for each in (commit, self._journal.open):
                each.effects = [(run, effects) for run, effects in each.effects if run.seq not in annulled]
                each.rows.logs = [row for row in each.rows.logs if row[0] not in annulled]
                each.lines = [line for line in each.lines if line[1][0] not in commit.duplicates]

    def full(self, commit: Commit, error: StorageFull, *, behind: bool) -> None:
        """Take the new runs out of a commit that found the database full, and say so.

        What ends runs stays in it, so that it may make room; so do templates and code, which later runs refer
        to and which are small.

        Args:
            commit: Which.
            error: Why, for people.
            behind: Whether a commit before it is not durable yet and keeps its runs. Then its batches are
                acknowledged when it is written itself: their numbers say the same of all before them.
        """
        rows = commit.rows
        commit.refused = error if rows.new_runs else commit.refused
        if not behind:
            for session, (number, stream) in commit.accepted.items():
                session.settle_batches(number, stream)
                session.wake()
            commit.accepted.clear()
        taken_back: list[Run] = []
        for row in map(NewRunRow._make, rows.new_runs):
            run = self._book.runs.get(row.run_id)
            if run is not None:
                self._take_back(run)
                taken_back.append(run)
            self._upstream.parked.never_recorded(row.run_id)
            no_room = StorageFull(str(error), run_id=row.run_id, retry_after=error.retry_after)
            self._tell(commit, row, run, no_room)
        for run in taken_back:
            self._upstream.not_recorded(run)
        self._metrics.refused_runs += len(rows.new_runs)
        self._backlog.refused(rows.backlog_added)
        self._strip(commit)

    def unstorable(self, commit: Commit, reasons: Mapping[int, str]) -> None:
        """Refuse new runs that the database cannot hold, and all that was to be written about them.

        Args:
            commit: The commit that was refused; what came after it may be about the same runs.
            reasons: Why, for people, by the seq of the run.
        """
        for row in map(NewRunRow._make, [*commit.rows.new_runs, *self._journal.open.rows.new_runs]):
            if row.seq not in reasons:
                continue
            run = self._book.runs.get(row.run_id)
            if run is not None and run.seq == row.seq:
                self._take_back(run)
                self._upstream.look_up(run)
            text = f"run {format_id(row.run_id)} cannot be recorded: {reasons[row.seq]}"
            error = commit.unstorable[row.run_id] = InvalidRequest(text, run_id=row.run_id)
            self._tell(commit, row, run, error)
        self._metrics.refused_runs += len(reasons)
        for each in (commit, self._journal.open):
            self._backlog.refused([row for row in each.rows.backlog_added if row[2] in reasons])
            _leave_out(each, reasons)

    def _strip(self, commit: Commit) -> None:
        """Leave in a commit only what is not about its new runs."""
        rows, still_open = commit.rows, self._journal.open
        seqs, ids = {row[0] for row in rows.new_runs}, {row[1] for row in rows.new_runs}
        commit.submitted = [run for run in commit.submitted if run.seq not in seqs]  # others were read back
        commit.payload_bytes -= sum(len(row[_ARGS]) for row in rows.new_runs if row[_ARGS])  # type: ignore[arg-type, misc]
        rows.new_runs.clear()
        rows.backlog_added.clear()
        self._drop_logs(commit)
        rows.ended = [row for row in rows.ended if row[-1] not in seqs]
        rows.events = [row for row in rows.events if row[0] not in seqs]
        rows.blob_refs = [row for row in rows.blob_refs if row[1] not in seqs]
        commit.lines = [(session, record) for session, record in commit.lines if record[0] not in ids]
        commit.effects = [(run, effects) for run, effects in commit.effects if run.seq not in seqs]
        if commit is not still_open:
            moved = sum(len(data) for _, data in rows.blobs)
            moved += sum(len(row[2]) + RECORD_BYTES for row in rows.templates)
            commit.payload_bytes -= moved
            still_open.payload_bytes += moved
            still_open.rows.templates[:0] = rows.templates
            still_open.rows.blobs[:0] = rows.blobs
            rows.templates, rows.blobs = [], []

    def _drop_logs(self, commit: Commit) -> None:
        """Give up log records: the largest of what nobody waits for."""
        logs = commit.rows.logs
        if logs:
            self._metrics.dropped_logs += len(logs)
            log.warning("%d log records dropped: the database has no room", len(logs))
            logs.clear()

    def _take_back(self, run: Run) -> None:
        self._book.remove(run)
        annul(run)
        self._upstream.forget_late(run)
        self._cache.refused(run)

    def _tell(self, commit: Commit, row: NewRunRow, run: Run | None, error: TaskyardError) -> None:
        submitter = self._roster.session(row.session_id)
        if submitter is None:  # it may belong to nobody, and have come from somebody
            submitter = commit.unowned.get(row.run_id) or self._journal.open.unowned.get(row.run_id)
        subscriber = run.session if run is not None else None
        for session in filter(None, {submitter, subscriber}):
            session.refuse(row.run_id, error)
            session.wake()
        self._watchers.refused(row.run_id, error)


def _leave_out(commit: Commit, seqs: Container[int]) -> None:
    """Take everything that is about some new runs out of a commit."""
    rows = commit.rows
    ids = {row[1] for row in rows.new_runs if row[0] in seqs}
    rows.new_runs = [row for row in rows.new_runs if row[0] not in seqs]
    rows.backlog_added = [row for row in rows.backlog_added if row[2] not in seqs]
    rows.ended = [row for row in rows.ended if row[-1] not in seqs]
    rows.events = [row for row in rows.events if row[0] not in seqs]
    rows.logs = [row for row in rows.logs if row[0] not in seqs]
    rows.cache = [row for row in rows.cache if row[1] not in seqs]
    rows.blob_refs = [row for row in rows.blob_refs if row[1] not in seqs]
    commit.submitted = [run for run in commit.submitted if run.seq not in seqs]
    commit.effects = [(run, effects) for run, effects in commit.effects if run.seq not in seqs]
    commit.lines = [(session, record) for session, record in commit.lines if record[0] not in ids]
    commit.decided = [(session, said) for session, said in commit.decided if said.run_id not in ids]
