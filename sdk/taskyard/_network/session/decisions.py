"""Flow runs of this process, and what the control plane decides about them.

The body of a flow runs here, but how its run goes on is decided there. Each attempt is reported twice:

- its start, which nobody waits for;
- its end, for which `expect` gives a promise. The answer comes when it is durable: a final state, or another
  attempt after a delay.

A report is kept until its answer has come, because it may be lost with the stream; on the next stream all of
these are sent again before anything else. So the control plane may hear a report twice, and answers twice; an
answer that only offers an attempt which has begun already is an echo, and ignored. A final answer that nobody
waits for ends the body: the run was cancelled, or its session was given up for lost.

A flow run that was refused when it was submitted has its reports refused as well; the first reason is the one
that is told.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future as ThreadFuture

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.states import FIRST_FINAL, RunState

Decision = ThreadFuture[pb.FlowDecision]
"""Comes when the control plane has made it durable."""


class Decisions:
    """Reports without an answer, those who wait for one, and bodies that can be stopped."""

    def __init__(self) -> None:
        """Begin where nothing was reported and nothing is expected."""
        self._unanswered: deque[pb.FlowReport] = deque()
        self._expected: dict[bytes, Decision] = {}
        self._refused: dict[bytes, TaskyardError] = {}
        self._stop: dict[bytes, Callable[[], None]] = {}

    def listen(self, run_id: bytes, stop: Callable[[], None]) -> None:
        """Let `stop` end the body of a flow run when its cancellation is requested. From any thread."""
        self._stop[run_id] = stop

    def ignore(self, run_id: bytes) -> None:
        """Take back a `listen`: the body has ended."""
        self._stop.pop(run_id, None)

    def expect(self, run_id: bytes) -> Decision:
        """Return the promise of a decision about the attempt whose end is being reported. From any thread."""
        decision = Decision()
        error = self._refused.pop(run_id, None)
        if error is not None:
            decision.set_exception(error)
        else:
            self._expected[run_id] = decision
        return decision

    def sent(self, reports: Sequence[pb.FlowReport]) -> None:
        """Keep reports until they are answered."""
        self._unanswered.extend(reports)

    def take_unanswered(self) -> list[pb.FlowReport]:
        """Return the reports that have to be sent again, which count as not sent then."""
        unanswered, self._unanswered = list(self._unanswered), deque()
        return unanswered

    def decide(self, decision: pb.FlowDecision) -> None:
        """Note what was decided about a report, and tell whoever waits; a late answer changes nothing."""
        state = int(decision.state)
        for index, report in enumerate(self._unanswered):
            if report.run_id == decision.run_id:
                if state == RunState.AWAITING_RETRY and decision.attempt <= report.attempt:
                    return  # what an earlier attempt was told, once more
                del self._unanswered[index]
                break
        if state < FIRST_FINAL and state != RunState.AWAITING_RETRY:
            return  # the answer to a start, for which nobody waits
        expected = self._expected.pop(decision.run_id, None)
        if expected is not None:
            if expected.set_running_or_notify_cancel():  # or whoever waited has gone
                expected.set_result(decision)
        elif state >= FIRST_FINAL:
            self.stop(decision.run_id)

    def stop(self, run_id: bytes) -> None:
        """End the body of a flow run, if it still runs."""
        stop = self._stop.get(run_id)
        if stop is not None:
            stop()

    def refuse(self, run_id: bytes, error: TaskyardError) -> None:
        """Fail what is expected about a flow run, now and later."""
        self._fail(run_id, self._refused.setdefault(run_id, error))

    def fail_all(self, error: TaskyardError) -> None:
        """Fail everything that is expected: no answer will come any more."""
        for run_id in list(self._expected):
            self._fail(run_id, error)

    def _fail(self, run_id: bytes, error: TaskyardError) -> None:
        self._unanswered = deque(report for report in self._unanswered if report.run_id != run_id)
        decision = self._expected.pop(run_id, None)
        if decision is not None and decision.set_running_or_notify_cancel():
            decision.set_exception(error)
