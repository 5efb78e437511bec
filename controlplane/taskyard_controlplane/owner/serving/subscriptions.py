"""How a session gets to know of runs that it did not submit on the stream it has now.

That is what it resends after a reconnect, because it does not know whether it arrived; what it subscribes to;
and what it reports too late. In memory or not, the answer is the same; only that for runs which are not, the
database has to be asked, and everything may have changed when it has answered.
"""

from collections.abc import Iterable

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import AGENT, Run
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.journal.watchers import Watchers
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.submission import Submission
from taskyard_controlplane.storage.interface import StoredRun


class Subscriptions:
    """Connects sessions with runs by their ids."""

    def __init__(
        self,
        book: RunBook,
        stored: StoredRuns,
        templates: Templates,
        submission: Submission,
        watchers: Watchers,
    ) -> None:
        """Find runs in `book` or among those `stored`; what is resent and unknown goes to `submission`."""
        self._watchers = watchers
        self._runs = book.runs
        self._stored = stored
        self._templates = templates
        self._submission = submission

    async def resubmit(self, session: ClientSession, batch: pb.SubmitBatch) -> None:
        """Apply a batch that may have been accepted before the stream broke.

        Raises:
            InvalidRequest: The batch is malformed; the client has a defect.
            StorageUnavailable: The database does not answer.
        """
        ids = [run_id for group in batch.groups for run_id in group.run_ids]
        unknown = [run_id for run_id in ids if run_id not in self._runs]
        rows = await self._stored.rows(unknown)
        known = {row.run_id for row in rows} | (set(ids) - set(unknown))
        self._adopt(session, known)
        # A run refused on this very stream stays refused, though its batch was under way once more.
        known |= session.refused_since or set()
        self._submission.submit(session, batch, frozenset(known))
        self._deliver(session, rows)

    async def subscribe(self, session: ClientSession, run_ids: list[bytes]) -> None:
        """Let a session hear how some runs end, or ended.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        self._adopt(session, run_ids)
        unknown = [run_id for run_id in run_ids if run_id not in self._runs]
        if not unknown:
            return
        rows = await self._stored.rows(unknown)
        self._adopt(session, unknown)  # those that were submitted meanwhile
        found = {row.run_id for row in rows}
        for run_id in unknown:
            if run_id not in found and run_id not in self._runs:
                session.refuse(run_id, RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id))
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

    async def to_be_ended(self, run_ids: list[bytes]) -> list[Run]:
        """Return those of some runs that are open, loading them from the backlog if need be.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        unknown = [run_id for run_id in run_ids if run_id not in self._runs]
        if unknown:
            self._stored.load(await self._stored.heads(unknown))
        return [self._runs[run_id] for run_id in run_ids if run_id in self._runs]

    def _adopt(self, session: ClientSession, run_ids: Iterable[bytes]) -> None:
        for run_id in run_ids:
            run = self._runs.get(run_id)
            if run is not None:
                self._watchers.connect(run, session)

    def _deliver(self, session: ClientSession, rows: list[StoredRun]) -> None:
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
                session.push_result(row.run_id, row.result, row.outcome)
        session.wake()

    def _executed_elsewhere(self, row: StoredRun) -> bool:
        """Whether its own session needs to be told how a run ended: what it executes, it has reported."""
        return self._templates.by_id(row.template_id).executor == AGENT
