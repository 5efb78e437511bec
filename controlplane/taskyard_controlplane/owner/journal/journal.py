"""The verbs of what is recorded and promised: each goes into the commit that is open at that moment.

Nobody else builds rows or knows which list they go to. Every verb leaves the commit scheduled, so that
nothing that was said here can lie around unwritten. Two things are beside the verbs: rows of dispatches wait
for whatever commit comes next (`dispatched`), and loops that run once per run take the lists of `open` once
and append to them in place, because a call for each run would cost as much as the rest of the loop; they say
so, and end with `touch`.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from taskyard_api.v1.common_pb2 import BlobRef
from taskyard_api.v1.session_service_pb2 import FlowDecision
from taskyard_contract.errors import StorageFull
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.domain.model import Run, Submitter, Template
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.log_records import Record
from taskyard_controlplane.owner.journal.rows import (
    add_end,
    cache_row,
    ended_row,
    event_row,
    key_row,
    log_row,
    new_row,
    reopened_row,
)
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.owner.logs.numbers import LogNumbers
from taskyard_controlplane.owner.logs.writer import HIGHEST_NUMBER, LOGGER
from taskyard_controlplane.owner.named_blobs import (
    add_refs,
    blobs_of_label,
    blobs_of_outcome,
    blobs_of_template,
)
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.storage.interface import BlobRefKind

HIGHEST_LEVEL = 1000
"""Of log records; Python's own end at 50. What is higher is a mistake, and might not fit into the column."""
LOOKED_UP_AT_ONCE: Final = 4_096
"""Runs that one commit asks about. Each takes 12 us, and whatever is recorded next waits for all of them."""


class Journal:
    """Writes into the open commit."""

    def __init__(
        self, committer: Committer, numbers: LogNumbers, leaving: LeavingBlobs, next_agent: int = 1
    ) -> None:
        """Write into what `committer` commits next.

        Args:
            committer: Has the open commit.
            numbers: Those of log records.
            leaving: Hears of every blob that is referred to.
            next_agent: The first free number of an agent.
        """
        self._committer = committer
        self._numbers = numbers
        self._leaving = leaving
        self._next_agent = next_agent
        self._to_look_up: deque[bytes] = deque()
        self.named_bytes = 0
        """What the blobs take that were named since this owner began; some of them may have gone again."""
        self.touch = committer.touch

    @property
    def open(self) -> Commit:
        """The open commit itself: for loops that append once per run, and for what follows a commit."""
        return self._committer.open

    @property
    def full(self) -> StorageFull | None:
        """Why nothing new can be recorded at the moment; None when it can."""
        return self._committer.full

    @property
    def new_runs(self) -> int:
        """How many new runs wait to be recorded."""
        return len(self.open.rows.new_runs)

    @property
    def uncommitted_bytes(self) -> int:
        """How much payload was accepted and is not durable yet."""
        return self._committer.uncommitted_bytes

    def counted(self, size: int) -> None:
        """Count payload that the open commit holds from now on."""
        self.open.payload_bytes += size

    def is_recorded(self, run: Run) -> bool:
        """Whether a run is durable, and not only what is in a commit."""
        return run.seq <= self._committer.recorded_seq

    def holds_logs_of(self, session_id: bytes) -> bool:
        """Whether log records of a session are in a commit that is not durable yet."""
        commits = self._committer.undurable()
        return any(mark[0] == session_id for commit in commits for mark in commit.rows.log_marks)

    @property
    def has_backlogged(self) -> bool:
        """Whether queued runs are in the open commit and nowhere else, so that no look-up finds them."""
        return bool(self.open.rows.backlog_added)

    def backlogged_in(self, lane: str, priority: int) -> int:
        """Return how many runs of a lane and priority are in the open commit and nowhere else."""
        return sum(row[:2] == (lane, priority) for row in self.open.rows.backlog_added)

    # Rows.

    def template(self, template: Template) -> None:
        """Record a template that nobody sent before, and that it refers to its code, wherever that is."""
        self.counted(len(template.definition))
        self.open.rows.templates.append(
            (template.template_id, template.digest, template.definition, template.name)
        )
        self._refer(BlobRefKind.TEMPLATE, template.template_id, blobs_of_template(template.definition), 0)
        self.touch()

    def blob(self, digest: bytes, data: bytes) -> None:
        """Record a blob that came inside another message; large ones are stored by themselves, as jobs."""
        self.counted(len(data))
        self.open.rows.blobs.append((digest, data))
        self.touch()

    def submitted(self, run: Run) -> None:
        """Record a new run, which goes on when that is durable."""
        self.open.rows.new_runs.append(new_row(run))
        if run.args_blob is not None:
            self._arguments_named(run, run.args_blob)
        self.resumed(run)

    def resumed(self, run: Run) -> None:
        """Let a run that is recorded go on with the next commit."""
        self.open.submitted.append(run)
        self.touch()

    def queued(self, run: Run) -> None:
        """Record a new run of which nothing stays in memory; `backlogged` says where it waits."""
        self.open.rows.new_runs.append(new_row(run))
        if run.args_blob is not None:
            self._arguments_named(run, run.args_blob)
        self.touch()

    def _arguments_named(self, run: Run, label: bytes) -> None:
        self._refer(BlobRefKind.ARGUMENTS, run.seq, blobs_of_label(label), run.submitted_us)

    def _refer(
        self, kind: BlobRefKind, holder: int, blobs: Iterable[BlobRef], now_us: int, key: str | None = None
    ) -> None:
        rows = self.open.rows
        known = len(rows.blobs_named)
        for name in add_refs(rows, kind, holder, blobs, now_us, key):
            self._leaving.referred(name)
        self.named_bytes += sum(size for _, size, _, _ in rows.blobs_named[known:])

    def result_named(self, run: Run, blobs: Iterable[BlobRef]) -> None:
        """Record that the end of a run, which is in the same commit, refers to blobs."""
        self._refer(BlobRefKind.RESULT, run.seq, blobs, run.ended_us or 0)
        self.touch()

    def backlogged(self, lane: str, priority: int, seqs: Iterable[int]) -> None:
        """Record that new runs wait in the database."""
        self.open.rows.backlog_added.extend([(lane, priority, seq) for seq in seqs])
        self.touch()

    def taken_from_backlog(self, lane: str, priority: int, last_seq: int) -> None:
        """Record that the backlog was read up to a run, which is the last of those in memory now."""
        self.open.rows.backlog_removed.append((lane, priority, last_seq))
        self.touch()

    def taken_one_by_one(self, seqs: Iterable[int]) -> None:
        """Record that runs of the backlog, wherever they stand in it, are in memory from now on."""
        self.open.rows.backlog_taken.extend([(seq,) for seq in seqs])
        self.touch()

    def reopened(self, run: Run, ended_in: int) -> None:
        """Record that a run which had ended in a state is open again; recovery has to find it."""
        rows = self.open.rows
        rows.reopened.append(reopened_row(run))
        rows.bad_ends_removed.append((ended_in, run.template.kind, run.seq))
        rows.low_seq = run.seq if rows.low_seq is None else min(rows.low_seq, run.seq)
        self.touch()

    def ended(self, run: Run) -> None:
        """Record the end of a run."""
        add_end(self.open.rows, ended_row(run))
        self.touch()

    def key_known(self, run: Run) -> None:
        """Record the cache key that a worker has computed, and that its attempt ended by that."""
        self.open.rows.keys.append(key_row(run))
        self.touch()

    def cached(self, run: Run, now_us: int) -> None:
        """Record that a run's result is the newest under its key."""
        rows = self.open.rows
        rows.cache.append(cache_row(run, now_us))
        if run.outcome is not None:
            blobs = blobs_of_outcome(run.outcome)
            self._refer(BlobRefKind.CACHE_ENTRY, run.seq, blobs, now_us, run.cache_key)
        self.touch()

    def event(
        self,
        run: Run,
        at_us: int,
        *,
        state: int,
        reason: int,
        attempt: int,
        due_us: int | None = None,
        state_name: str = "",
        message: str = "",
    ) -> None:
        """Record what happened to a run on its way."""
        self.open.rows.events.append(
            event_row(run, at_us, state, reason, attempt, due_us, state_name, message)
        )
        self.touch()

    def logged(self, run: Run, flow_seq: int, at_us: int, level: int, logger: str, message: str) -> None:
        """Record a line in the log of a run, which is in the flow run of this number
        (`RunBook.flow_seq_of`): with what it is about, and not beside the commit as what runs log.
        """
        level = min(level, HIGHEST_LEVEL)
        row = log_row(run, flow_seq, at_us, level, logger, message, self._numbers.next())
        self.open.rows.logs.append(row)
        self.touch()

    def logs_lost(self, at_us: int, run_seq: int, flow_seq: int | None, count: int) -> None:
        """Record in the log of a run how many records of it could not be stored."""
        text = f"{count} log records are lost: the log store could not take them"
        self.open.rows.logs.append(
            (run_seq, flow_seq, at_us, logging.ERROR, LOGGER, text, self._numbers.next())
        )
        self.touch()

    def tells(self, session: Submitter, record: Record) -> None:
        """Show a session, after the commit, what it says of a run."""
        self.open.lines.append((session, record))
        self.touch()

    def logs_came(self, peer: AgentSession | ClientSession, number: int, at_us: int) -> None:
        """Record, with log records of a peer that are in the commit, that they have come; and tell it so
        after the commit.
        """
        self.logs_beside(peer, number)
        self.open.rows.log_marks.append((peer.session_id, min(number, HIGHEST_NUMBER), at_us))
        self.touch()

    def logs_beside(self, peer: AgentSession | ClientSession, number: int) -> None:
        """Tell a peer, after the commit and when they are stored, that log records of it have come."""
        self.open.logged[peer] = number
        self.touch()

    def forget_log_marks(self, up_to_us: int) -> None:
        """Forget, with the next commit, of sessions that have not logged since. No reason for one."""
        self.open.rows.log_marks_removed.append((up_to_us,))

    def works(self, agent: AgentSession, at_us: int) -> None:
        """Record the name of an agent that gets its first run, under the number by which runs that end say
        where they ran. Others come and go, and leave nothing behind.

        It goes with whatever commit comes next: no run of it ends before.
        """
        if agent.identity.number is None:
            number, self._next_agent = self._next_agent, self._next_agent + 1
            agent.identity = agent.identity._replace(number=number)
            texts = bounded(agent.agent_id, NAME_LIMIT), bounded(agent.name, NAME_LIMIT)
            self.open.rows.agents.append((number, *texts, at_us))
            self._committer.take_along()

    def dispatched(self, number: int, agent: AgentSession, at_us: int, entries: bytes) -> None:
        """Record what an agent was assigned, with whatever commit comes next: normally that of the reports.

        A restart in between finds the runs ready and assigns them again under a higher epoch, which makes the
        first execution's report stale. Nothing is lost or counted twice, and no dispatch waits for a disk
        but those with cache keys (`delivery`): others with the same key must not begin.
        """
        self.open.rows.dispatches.append((number, agent.agent_id, agent.session_id, at_us, entries))
        self._committer.take_along()

    def dispatches_over_below(self, number: int) -> None:
        """Let rows of dispatches with a lower number go with the next commit. No reason for one."""
        self.open.rows.dispatched_below = number

    def nothing_open_below(self, seq: int) -> None:
        """Note, with the next commit, from where recovery has to look for open runs. No reason for one."""
        rows = self.open.rows
        rows.low_seq = min([seq, *(int(str(row[-1])) for row in rows.reopened)])

    # Questions that ride on the commit, and are answered after its own rows are written.

    def look_up_run(self, run_id: bytes) -> None:
        """Ask how a run that is not in memory ended; with a later commit, if the open one asks for many."""
        asked = self.open.rows.lookup_runs
        if len(asked) < LOOKED_UP_AT_ONCE:
            asked.append(run_id)
            self.touch()
            return
        if not self._to_look_up:
            self.then(self._look_up_further)
        self._to_look_up.append(run_id)

    def _look_up_further(self) -> None:
        asked = self.open.rows.lookup_runs
        while self._to_look_up and len(asked) < LOOKED_UP_AT_ONCE:
            asked.append(self._to_look_up.popleft())
        if self._to_look_up:
            self.then(self._look_up_further)
        self.touch()

    def look_up_key(self, key: str) -> None:
        """Ask for a result under a cache key."""
        self.open.rows.lookup_keys.append(key)
        self.touch()

    # Promises.

    def accepted(self, session: ClientSession, number: int) -> None:
        """Tell a client, after the commit, that its batches up to a number are durable."""
        self.open.accepted[session] = number, session.attachments
        self.touch()

    def reported(self, agent: AgentSession, number: int) -> None:
        """Tell an agent, after the commit, that its reports up to a number are durable."""
        self.open.reported[agent] = number
        self.touch()

    def decided(self, session: ClientSession, decision: FlowDecision) -> None:
        """Answer, after the commit, a report about a run that a session executes."""
        self.open.decided.append((session, decision))
        self.touch()

    def follows(self, run: Run, effects: int) -> None:
        """Perform, after the commit, what follows from a transition."""
        self.open.effects.append((run, effects))
        self.touch()

    def then(self, action: Callable[[], None]) -> None:
        """Do something after the commit."""
        self.open.then.append(action)
        self.touch()
