"""Ending runs because somebody wants it: by request, by withdrawal, with their flow run, or with their
session.

What has not started ends at once. What executes is asked to end, and its executor has the last word.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from taskyard_contract.states import StateReason
from taskyard_contract.wire_text import NAME_LIMIT, cut
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.rules.settling import Settling

FLOW_ENDED: Final = "its flow run ended before the run could start"


class Wish(NamedTuple):
    """Who wants something, and why; either may be empty."""

    requested_by: str = ""
    reason: str = ""

    @classmethod
    def of(cls, requested_by: str, reason: str) -> "Wish":
        """Take both as a message has them: a reason may be as large as the message."""
        return cls(cut(requested_by, NAME_LIMIT), cut(reason))

    def told(self, deed: str, otherwise: str) -> str:
        """Say that it was done, as people read it: 'cancelled by ann@host: wrong input'.

        Args:
            deed: What was done: "cancelled".
            otherwise: What to say when nobody and nothing is named.
        """
        if not (self.requested_by or self.reason):
            return otherwise
        by = f" by {self.requested_by}" if self.requested_by else ""
        return cut(f"{deed}{by}: {self.reason}" if self.reason else f"{deed}{by}")


NOBODY_SAYS: Final = Wish()


class Cancelling:
    """Ends runs that are in memory."""

    def __init__(self, settling: Settling) -> None:
        """Apply the events through `settling`."""
        self._settling = settling

    def request(self, runs: Iterable[Run], wish: Wish = NOBODY_SAYS) -> None:
        """Request the end of some runs because somebody wants it."""
        self._request(runs, wish.told("cancelled", "cancellation was requested"))

    def _request(self, runs: Iterable[Run], message: str) -> None:
        for run in list(runs):
            if not run.ended:
                self._settling.apply(
                    run, RunEvent.CANCEL_REQUESTED, reason=StateReason.CANCEL_REQUESTED, message=message
                )

    def withdraw(self, runs: Iterable[Run], wish: Wish = NOBODY_SAYS) -> None:
        """End those of some runs that have not started.

        Programs do that by themselves, so that who did it says something only beside a reason.
        """
        message = wish.told("withdrawn", FLOW_ENDED) if wish.reason else FLOW_ENDED
        for run in list(runs):
            self._settling.apply(
                run,
                RunEvent.WITHDRAWN,
                reason=StateReason.CANCEL_REQUESTED,
                message=message,
            )

    def end_with_flow(self, flow: Run, runs: Iterable[Run]) -> None:
        """Request the end of runs inside a flow run that has ended or is being cancelled."""
        self._request(runs, f"the flow run '{flow.shown_name}' ended or was cancelled")

    def end_with_session(self, name: str, runs: Iterable[Run]) -> None:
        """Tell runs that the session they belong to is gone: what it executed itself crashes, what has not
        started is cancelled, what an agent executes may finish.
        """
        message = f"the process that owned it ({name}) is gone"
        for run in list(runs):
            self._settling.apply(run, RunEvent.SESSION_LOST, reason=StateReason.SESSION_LOST, message=message)
