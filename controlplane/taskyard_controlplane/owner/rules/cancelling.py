"""Ending runs because somebody wants it: by request, by withdrawal, with their flow run, or with their
session.

What has not started ends at once. What executes is asked to end, and its executor has the last word.
"""

from collections.abc import Iterable

from taskyard_contract.states import StateReason
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.rules.settling import Settling


class Cancelling:
    """Ends runs that are in memory."""

    def __init__(self, settling: Settling) -> None:
        """Apply the events through `settling`."""
        self._settling = settling

    def request(self, runs: Iterable[Run], message: str) -> None:
        """Request the end of some runs."""
        for run in list(runs):
            if not run.ended:
                self._settling.apply(
                    run, RunEvent.CANCEL_REQUESTED, reason=StateReason.CANCEL_REQUESTED, message=message
                )

    def withdraw(self, runs: Iterable[Run]) -> None:
        """End those of some runs that have not started."""
        for run in list(runs):
            self._settling.apply(
                run,
                RunEvent.WITHDRAWN,
                reason=StateReason.CANCEL_REQUESTED,
                message="its flow run ended before the run could start",
            )

    def end_with_flow(self, flow: Run, runs: Iterable[Run]) -> None:
        """Request the end of runs inside a flow run that has ended or is being cancelled."""
        self.request(runs, f"the flow run '{flow.shown_name}' ended or was cancelled")

    def end_with_session(self, name: str, runs: Iterable[Run]) -> None:
        """Tell runs that the session they belong to is gone: what it executed itself crashes, what has not
        started is cancelled, what an agent executes may finish.
        """
        message = f"the process that owned it ({name}) is gone"
        for run in list(runs):
            self._settling.apply(run, RunEvent.SESSION_LOST, reason=StateReason.SESSION_LOST, message=message)
