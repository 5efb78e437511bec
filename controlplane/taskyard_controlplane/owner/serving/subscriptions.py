"""How a session gets to know of runs that it did not submit on the stream it has now.

That is what it resends after a reconnect, because it does not know whether it arrived; what it subscribes to;
and what it reports too late. In memory or not, the answer is the same; only that for runs which are not, the
database has to be asked, and everything may have changed when it has answered.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import AGENT, Run, executor_of
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.watchers import Watchers
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.checks import submitted_before
from taskyard_controlplane.owner.rules.authority import may_end, may_end_queued, owns
from taskyard_controlplane.storage.interface import RunHead

PART: Final = 256
"""How many runs are looked up at a time: a few milliseconds of work."""


async def parts(run_ids: Sequence[bytes]) -> AsyncIterator[Sequence[bytes]]:
    """Cut ids into as many as are dealt with at a time; others get their turn in between."""
    for start in range(0, len(run_ids), PART):
        if start:
            await asyncio.sleep(0)
        yield run_ids[start : start + PART]


class Subscriptions:
    """Connects sessions with runs by their ids."""

    def __init__(self, book: RunBook, stored: StoredRuns, watchers: Watchers) -> None:
        """Find runs in `book` or among those `stored`."""
        self._watchers = watchers
        self._book = book
        self._runs = book.runs
        self._stored = stored

    async def resent(self, session: ClientSession, batch: pb.SubmitBatch) -> frozenset[bytes]:
        """Return which runs of a batch, accepted before the stream broke perhaps, are not to be added.

        The session hears of those that are there, unless it has given them to nobody.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        ids = [run_id for group in batch.groups for run_id in group.run_ids]
        nobodys = {each for group in batch.groups if group.outlives_session for each in group.run_ids}
        own = [run_id for run_id in ids if run_id not in nobodys] if nobodys else ids
        self._adopt(session, own)  # first: any of them may end while the database is asked for others
        unknown = [run_id for run_id in ids if run_id not in self._runs]
        known = set(ids).difference(unknown)
        async for part in parts(unknown):
            rows = await self._stored.heads(part)
            known.update(row.run_id for row in rows)
            self._deliver(session, [row for row in rows if row.run_id not in nobodys])
        self._adopt(session, known - nobodys)
        for run_id in known:
            run = self._runs.get(run_id)
            if run is not None and not owns(session, run) and (run.owned or run_id not in nobodys):
                session.refuse(run_id, submitted_before(run_id))
        # A run refused on this very stream stays refused, though its batch was under way once more.
        known |= session.refused_since or set()
        session.wake()
        return frozenset(known)

    async def subscribe(self, session: ClientSession, run_ids: Sequence[bytes]) -> None:
        """Let a session hear how some runs end, or ended.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        async for part in parts(run_ids):
            self._adopt(session, part)
        async for part in parts([run_id for run_id in run_ids if run_id not in self._runs]):
            self._adopt(session, part)  # those that were loaded while the database was asked for others
            unknown = [run_id for run_id in part if run_id not in self._runs]
            rows = await self._stored.heads(unknown)
            self._adopt(session, part)  # those that were submitted meanwhile
            found = {row.run_id for row in rows}
            for run_id in unknown:
                if run_id not in found and run_id not in self._runs:
                    error = RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id)
                    session.refuse(run_id, error)
            self._deliver(session, rows)

    async def late_report(self, session: ClientSession, run_id: bytes) -> None:
        """Answer a report about a run that has ended: its recorded state stands.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        try:
            run = await self._stored.find(run_id)
        except RunNotFound as error:
            session.refuse(run_id, error)
        else:
            session.decide(
                pb.FlowDecision(
                    run_id=run_id,
                    state=run.state,  # type: ignore[arg-type]  # the enums are numerically equal
                    attempt=run.attempt,
                )
            )
        session.wake()

    async def to_be_ended(self, session: ClientSession, run_ids: Sequence[bytes]) -> AsyncIterator[list[Run]]:
        """Return those of some runs that are open and that a session may end, some at a time; they are loaded
        from the backlog if need be.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        async for part in parts(run_ids):
            unknown = [run_id for run_id in part if run_id not in self._runs]
            if unknown:
                rows = await self._stored.heads(unknown)
                self._stored.load(rows.only(lambda row: self._may_end(session, row)))
            found = [self._runs[run_id] for run_id in part if run_id in self._runs]
            yield [run for run in found if may_end(session, run)]

    def _may_end(self, session: ClientSession, row: RunHead) -> bool:
        # Others are left where they are: what is loaded and does not end would be in no queue.
        flow = self._book.flow_of(row.flow_seq) if row.flow_seq is not None else None
        return may_end_queued(session, row.session_id, flow)

    def _adopt(self, session: ClientSession, run_ids: Iterable[bytes]) -> None:
        for run_id in run_ids:
            run = self._runs.get(run_id)
            if run is not None:
                self._watchers.connect(run, session)

    def _deliver(self, session: ClientSession, rows: list[RunHead]) -> None:
        for row in rows:
            run = self._runs.get(row.run_id)
            if run is not None:
                # It was loaded, or resubmitted, while the database was asked.
                self._watchers.connect(run, session)
            elif row.state < RunState.COMPLETED:
                self._stored.subscribe_later(row, session)
                if row.session_id != session.session_id:
                    self._watchers.listen(row.run_id, session)
            elif row.session_id != session.session_id or self._executed_elsewhere(row):
                session.push_stored(row.run_id, row.result, row.outcome)
        session.read_on()
        session.wake()

    def _executed_elsewhere(self, row: RunHead) -> bool:
        """Whether its own session needs to be told how a run ended: what it executes, it has reported."""
        return executor_of(row.kind) == AGENT
