"""Runs that are only in the database: finding them, and making records of them again.

Invariant: a run is never in two records; one that is in memory is found there, whatever its row says.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from taskyard_api.v1.session_service_pb2 import SubmitBatch
from taskyard_contract.clock import Clock
from taskyard_contract.errors import RunNotFound, StorageUnavailable
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.restoring import replay_dispatch, replay_events, restore_run
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.templates import FoundRuns, Templates
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.peers.roster import Roster
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import EventRow, RunHead, Store, StoredRun

REPEAT_SECONDS: Final = 1.0
"""When a read is tried again after the database did not answer: commits are repeated more often, and show
sooner that it does."""


class StoredRuns:
    """Looks runs up behind the commit that is open, and brings them into memory."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        book: RunBook,
        roster: Roster,
        templates: Templates,
        timers: Timers,
        clock: Clock,
        succession: Succession,
    ) -> None:
        """Read from `store`, through `committer`; records go into `book`, new sessions into `roster`."""
        self._store = store
        self._committer = committer
        self._journal = journal
        self._book = book
        self._roster = roster
        self._templates = templates
        self._timers = timers
        self._clock = clock
        self._succession = succession
        self._subscribers: dict[bytes, ClientSession] = {}
        self.gone_up_to = b""
        """The highest id of a run that was removed. Ids begin with the time, so those of new runs are
        higher."""

    async def find(self, run_id: bytes) -> Run | RunHead:
        """Return the record of a run in memory, or else its row, which is open when it is in the backlog.

        Raises:
            RunNotFound: There is no such run.
        """
        runs = self._book.runs
        run = runs.get(run_id)
        if run is not None:
            return run
        heads = await self.heads([run_id])
        if not heads:
            raise RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id)
        return runs.get(run_id) or heads[0]

    def may_be_gone(self, batch: SubmitBatch) -> bool:
        """Whether a new run of a batch may have the id of one that was removed: nearly never."""
        up_to = self.gone_up_to
        return bool(up_to) and any(group.run_ids and min(group.run_ids) <= up_to for group in batch.groups)

    async def gone_among(self, run_ids: Sequence[bytes]) -> frozenset[bytes]:
        """Return those of some ids that runs have which were removed, or could be removed now."""
        asked = [run_id for run_id in run_ids if run_id <= self.gone_up_to and run_id not in self._book.runs]
        if not asked:
            return frozenset()
        return frozenset(await self._committer.run(lambda: self._store.removals.seen(asked)))

    async def heads(self, run_ids: Sequence[bytes]) -> FoundRuns:
        """Return as `rows` does, without what is large."""
        if self._journal.has_backlogged:
            await self._committer.durable()
        templates = self._templates
        read = self._committer.run(lambda: templates.beside(self._store.heads_by_id(run_ids)))
        return templates.take(await read)

    async def args_of(self, seqs: list[int]) -> dict[int, bytes]:
        """Return the arguments of some runs, by seq."""
        await self._committer.durable()  # they may be in the open commit and nowhere else
        return (await self._committer.run(lambda: self._store.payloads(seqs, []))).args

    async def rows(self, run_ids: Sequence[bytes]) -> list[StoredRun]:
        """Return the rows of those of some runs that were submitted, whether or not they are durable yet."""
        if self._journal.has_backlogged:
            await self._committer.durable()  # what is only a row is nowhere else
        return await self._committer.run(lambda: self._store.runs_by_id(run_ids))

    def read_back(self, session: ClientSession) -> None:
        """Read the outcomes that a session is owed, all that it has room for, and let it send them."""
        run_ids, stream = session.next_owed()
        if run_ids:
            self._pay(session, stream, run_ids)

    def _pay(self, session: ClientSession, stream: int, run_ids: list[bytes]) -> None:
        future = self._committer.run(lambda: self._store.payloads([], run_ids))

        def done(_: object) -> None:
            if future.cancelled():
                return
            if future.exception() is None:
                session.paid(stream, run_ids, future.result().outcomes)
            elif isinstance(future.exception(), StorageUnavailable):
                again = partial(self._pay, session, stream, run_ids)
                self._timers.after(REPEAT_SECONDS, again, name="read back again")

        future.add_done_callback(done)

    def load(self, rows: FoundRuns) -> dict[bytes, Run]:
        """Return the records of runs that were read back, made anew where there was none; open runs only.

        Whoever loads a run whose row stays in the backlog has to end it before anything else happens: its
        history is not looked for there.
        """
        loaded: dict[bytes, Run] = {}
        for row in rows:
            run = self._book.runs.get(row.run_id)
            if run is None and row.state < FIRST_FINAL:
                run = self._record_of(row)
                run.session = self._subscribers.pop(row.run_id, None) or self.session_of(row)
                self._book.add(run, read_back=True)
                if run.upstream is not None:  # of others the arguments are small, if they were read at all
                    self._book.ledger.hold(run)
            if run is not None:
                loaded[row.run_id] = run
        return loaded

    def restore(self, row: RunHead, events: list[EventRow], epoch: int) -> tuple[Run, int | None]:
        """Make the record of an open run again after a restart, as its row, its history and the last epoch it
        was assigned under say; returns with it when its retry is due, as `replay_events` does.
        """
        run = self._record_of(row)
        due_us = replay_events(run, events)
        if epoch:
            replay_dispatch(run, epoch)
        run.session = self.session_of(row)
        self._book.add(run)
        self._book.ledger.hold(run)
        return run, due_us

    def reopen(self, row: RunHead, session: ClientSession) -> Run:
        """Make the record of a run that has ended again, as one of a session which takes it over.

        Whoever does so brings it into an open state before anything else happens.
        """
        run = self._record_of(row)
        run.session, run.owned, run.attempt = session, True, row.attempt
        restore(run, row.state)
        self._book.recent.pop(row.run_id, None)
        self._book.add(run, read_back=True)
        self._book.ledger.hold(run)
        return run

    def _record_of(self, row: RunHead) -> Run:
        flow = self._book.flow_of(row.flow_seq) if row.flow_seq is not None else None
        if flow is None and row.flow_seq is not None:
            self._book.strays[row.seq] = row.flow_seq
        return restore_run(row, self._templates, flow, self._succession.epoch_of(row.seq))

    def subscribe_later(self, row: RunHead, session: ClientSession) -> None:
        """Let a run of the backlog that belongs to no session become that of one, once it is in memory."""
        if not row.session_id:
            self._subscribers[row.run_id] = session

    @property
    def awaited(self) -> int:
        """How many runs of the backlog that belong to no session are waited for by one."""
        return len(self._subscribers)

    def session_of(self, row: RunHead) -> ClientSession | None:
        """Return the session a recorded run belongs to; its lease starts now if nobody has resumed it yet."""
        if not row.session_id:
            return None
        session = self._roster.session(row.session_id)
        if session is None:
            name = "unknown until it reconnects"
            session = self._roster.new_session(row.session_id, name, b"", self._clock.monotonic())
        return session
