"""What sessions report about the runs they execute: flow runs, whose bodies run where they were called.

A session only proposes; the table decides, and the answer goes back with the commit that made the decision
durable. A report may be repeated, because the answer was lost with a stream: the number of the attempt tells
an old one from a new one, and what is answered to an old one is what was answered then.
"""

from typing import Final

from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.blobs.names import may_name_result
from taskyard_contract.clock import Clock
from taskyard_contract.errors import InvalidRequest, PermissionDenied
from taskyard_contract.states import FlowEvent, RunState, StateReason, known_reason
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import transition
from taskyard_controlplane.domain.model import SESSION, Run
from taskyard_controlplane.domain.retries import LATEST_US
from taskyard_controlplane.owner.journal.changes import Changes
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.named_blobs import blobs_of, blobs_of_outcome
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.rules.authority import owns
from taskyard_controlplane.owner.rules.outcome_messages import why_of, write_outcome
from taskyard_controlplane.owner.rules.settling import Settling, what_was_asked
from taskyard_controlplane.owner.rules.telling import Telling

_EVENTS: Final[dict[int, RunEvent]] = {
    FlowEvent.STARTED: RunEvent.STARTED,
    FlowEvent.SUCCEEDED: RunEvent.SUCCEEDED,
    FlowEvent.FAILED: RunEvent.FAILED,
    FlowEvent.CANCELLED: RunEvent.ENDED_CANCELLED,
    FlowEvent.INTERRUPTED: RunEvent.INTERRUPTED,
}
_STALE: Final[dict[int, RunState]] = {RunEvent.STARTED: RunState.RUNNING}
"""What a repeated report about an earlier attempt is told; the end of one was: run the body again."""


class FlowReports:
    """Turns what sessions report of the runs they execute into transitions, and answers each report."""

    def __init__(
        self,
        book: RunBook,
        journal: Journal,
        settling: Settling,
        telling: Telling,
        changes: Changes,
        clock: Clock,
        max_inline_bytes: int,
    ) -> None:
        """Apply reports to the runs of `book`."""
        self._max_inline_bytes = max_inline_bytes
        self._book = book
        self._journal = journal
        self._settling = settling
        self._telling = telling
        self._changes = changes
        self._clock = clock

    def report(self, session: ClientSession, report: pb.FlowReport) -> bool:
        """Apply a report and decide with the next commit; False when no such flow run is open.

        Whoever reports about a flow run of somebody else is told that he may not.

        Raises:
            InvalidRequest: The report names no event, a time beyond all dates, or a run that is no flow run.
        """
        check_report(report)
        event = _EVENTS[report.event]
        if event == RunEvent.FAILED and int(report.reason) == StateReason.RESULT_REFUSED:
            event = RunEvent.FAILED_FOR_GOOD  # it would return the like of it again
        elif event == RunEvent.FAILED and int(report.reason) == StateReason.UPSTREAM:
            event = RunEvent.UPSTREAM_FAILED
        run = self._book.runs.get(report.run_id)
        if run is None:
            return False
        if run.template.executor != SESSION:
            raise InvalidRequest(f"'{run.shown_name}' is not a flow run; only its agent can report about it")
        if not owns(session, run):
            text = f"'{run.shown_name}' belongs to another session; only that one can report about it"
            session.refuse(report.run_id, PermissionDenied(text, run_id=report.run_id))
            session.wake()
            return True
        stale = 0 < report.attempt < run.attempt and run.state != RunState.CANCELLING
        attempt = run.attempt
        effects = 0 if stale else self._apply(run, event, report)
        state = run.state if not stale else _STALE.get(event, RunState.AWAITING_RETRY)
        decision = self._decision(run, state)
        if effects & Effect.NEXT_ATTEMPT:
            self._telling.retried(run, attempt, why_of(report.failure, run), decision.retry_after_ms / 1000)
        self._journal.decided(session, decision)
        return True

    def _apply(self, run: Run, event: RunEvent, report: pb.FlowReport) -> int:
        attempt, started_us, asked = run.attempt, run.started_us, what_was_asked(run)
        effects = transition(run, event)
        if not effects:
            return 0
        now_us = report.occurred_us or self._clock.now_us()
        run.reason, run.message = known_reason(report.reason), bounded(report.message)
        if asked and run.reason != StateReason.STATE_BY_HAND:
            run.message = asked
        if event == RunEvent.STARTED:
            run.started_us = max(now_us, run.submitted_us)  # the client's clock may be behind
            if self._changes.watched:
                self._changes.noticed([run])
            return effects
        state_name = bounded(report.state_name, NAME_LIMIT)
        if run.ended:
            run.ended_us = now_us
            if run.state == RunState.CANCELLED and event != RunEvent.ENDED_CANCELLED:
                run.reason, state_name = StateReason.CANCEL_REQUESTED, ""
            run.outcome = write_outcome(
                run,
                state_name=state_name,
                result=self._kept(run, report),
                failure=report.failure if report.HasField("failure") else None,
            )
            if report.result.HasField("blob") or report.result.values or report.HasField("failure"):
                self._journal.result_named(run, blobs_of_outcome(run.outcome))
        self._settling.settle(run, effects, attempt, started_us, state_name)
        return effects

    def _kept(self, run: Run, report: pb.FlowReport) -> common_pb2.Payload | None:
        """Return the value that is recorded: none if it is larger than its session was told to send inline,
        or names a blob that is not its own.

        The flow has ended with it, so the run completes all the same, as if its value could not be stored.
        """
        fits = report.HasField("result") and len(report.result.data) <= self._max_inline_bytes
        blobs = list(blobs_of(report.result)) if fits else []
        fits = fits and all(may_name_result(ref, run.run_id, None) for ref in blobs)
        return report.result if fits else None

    def _decision(self, run: Run, state: int) -> pb.FlowDecision:
        """Return the answer to a report about a flow run."""
        retry_after = 0.0
        if state == RunState.AWAITING_RETRY:
            retry_after = self._settling.delays.of(run)
        return pb.FlowDecision(
            run_id=run.run_id,
            state=state,  # type: ignore[arg-type]  # the enums are numerically equal
            retry_after_ms=round(retry_after * 1000),
            attempt=run.attempt,
            message=run.message if state == RunState.CANCELLED else "",
        )


def check_report(report: pb.FlowReport) -> None:
    """Check what can be checked without knowing the run.

    Raises:
        InvalidRequest: The report names no event, or a time that is beyond all dates.
    """
    if report.event not in _EVENTS:
        raise InvalidRequest(f"a flow report has the unknown event {report.event}")
    if not 0 <= report.occurred_us <= LATEST_US:
        raise InvalidRequest("a flow report has a time that is beyond all dates")
