"""Flow runs that have ended and are executed once more, by a session that takes them over.

Theory of operation. An ended run is only a row. To resume it, its record is made again, and the table brings
it from its final state into the next attempt: one commit writes how it had ended into its history, takes the
end out of its row, and names the session that executes it from now on. What then comes is what comes of every
flow run: that session reports, or its lease ends and the run crashes.

Invariants: of all who want to resume a run after the same attempt one does, for between the last look at the
record and its being in the book nothing else happens; and a run that is being resumed is in the book before
that is durable, so that whoever else asks finds it open.
"""

from typing import Final

from taskyard_api.v1 import session_service_pb2
from taskyard_contract.clock import Clock
from taskyard_contract.errors import Overloaded, RunNotFound, RunNotResumable, UnknownSession
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, shown_as
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.rules.authority import owns
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import RunHead, StoredRun

RETRY_SECONDS: Final = 0.2
"""When to ask again while runs inside are still being ended: mostly a few commits."""


class Resuming:
    """Opens flow runs again."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        """Open runs of `shard`."""
        self._shard = shard
        self._book = shard.book
        self._clock = clock

    async def resume(self, run_id: bytes, session_id: bytes, attempt: int, *, completed: bool) -> int:
        """Let a session execute a flow run once more that has ended in an attempt; returns the next attempt.

        Args:
            run_id: The flow run.
            session_id: Who executes it.
            attempt: The attempt that was its last one when somebody looked.
            completed: Whether it may have completed.

        Raises:
            UnknownSession: There is no such session.
            RunNotFound: There is no such run.
            RunNotResumable: It is no flow run, is open, has completed, or was resumed since.
            Overloaded: Runs inside it are still being ended.
            StorageUnavailable: The database does not answer.
        """
        session = self._shard.roster.sessions.get(session_id)
        if session is None:
            raise UnknownSession("the session that is to execute the run is not connected; connect first")
        run = self._book.runs.get(run_id)
        if run is not None and run.ended:
            await self._shard.committer.durable()
            run = self._book.runs.get(run_id)
        if run is None:
            heads = await self._shard.stored.heads([run_id])
            # That of a run which has ended may be in the database only: held until the record has it.
            held = await self._shard.templates.fetched((), [head.template_id for head in heads])
            stored = await self._shard.stored.rows([run_id])  # last: it says what somebody else has done
            if not stored or not heads:
                raise RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id)
            run = self._book.runs.get(run_id)  # another call may have been faster
            if run is None:
                self._check(stored[0], attempt, completed=completed)
                run = self._reopen(stored[0], heads[0], session)
                attempt = run.attempt - 1
            del held
        if not (owns(session, run) and run.attempt == attempt + 1 and not run.ended):
            raise _open(run)
        await self._shard.committer.durable()
        return run.attempt

    def _check(self, row: StoredRun, attempt: int, *, completed: bool) -> None:
        name = f"run {format_id(row.run_id)}"
        if row.kind != RunKind.FLOW:
            raise RunNotResumable(f"{name} is a task run; only flow runs are resumed", run_id=row.run_id)
        if row.state < FIRST_FINAL:
            raise RunNotResumable(f"{name} has not ended", run_id=row.run_id)
        if row.state == RunState.COMPLETED and not completed:
            text = f"{name} has completed; say that it is to be executed once more all the same"
            raise RunNotResumable(text, run_id=row.run_id)
        if attempt and row.attempt != attempt:
            text = f"{name} was resumed by somebody else, and has ended again since; read it again"
            raise RunNotResumable(text, run_id=row.run_id)
        if row.seq in self._book.ending_flows:
            raise Overloaded(
                f"runs inside {name} are still being ended; repeat later", retry_after=RETRY_SECONDS
            )

    def _reopen(self, row: StoredRun, head: RunHead, session: ClientSession) -> Run:
        run = self._shard.stored.reopen(head, session)
        run.infra_retries = row.infra_retries
        outcome = session_service_pb2.RunOutcome.FromString(row.outcome or b"")
        journal = self._shard.journal
        if row.started_us is not None:
            journal.event(run, row.started_us, state=RunState.RUNNING, reason=0, attempt=row.attempt)
        journal.event(
            run, row.ended_us or 0, state=row.state, reason=row.reason, attempt=row.attempt,
            state_name=outcome.state_name, message=outcome.message,
        )  # fmt: skip
        text = f"Resumed by {session.name}" if session.name else "Resumed"
        self._shard.settling.apply(run, RunEvent.RESUMED, message=text)
        journal.reopened(run, row.state)
        return run


def _open(run: Run) -> RunNotResumable:
    """Say why a run in memory is not resumed."""
    session = run.session
    if run.template.kind != RunKind.FLOW:
        text = f"'{run.shown_name}' is a task run; only flow runs are resumed"
    else:
        who = f" in program '{session.name}'" if isinstance(session, ClientSession) and session.name else ""
        text = (
            f"flow run '{run.shown_name}' has not ended: it is {shown_as(run.state)[1]}{who}; wait for it "
            "or cancel it before it is resumed"
        )
    return RunNotResumable(text, run_id=run.run_id)
