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
from taskyard_controlplane.owner.rules.telling import (
    FLOW_ENDED,
    MANY,
    TOGETHER,
    Telling,
    ended_together,
    open_ones,
    with_flow,
)


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

    def __init__(self, settling: Settling, telling: Telling) -> None:
        """Apply the events through `settling`; `telling` says of many at once what became of them."""
        self._settling = settling
        self._telling = telling

    def request(self, runs: Iterable[Run], wish: Wish = NOBODY_SAYS) -> None:
        """Request the end of some runs because somebody wants it."""
        runs = list(runs)
        if len(runs) <= MANY:
            self._request(runs, wish.told("cancelled", "cancellation was requested"))
            return
        for run in runs:
            if run.flow is not None:
                self._telling.inside_ended(run.flow, open_ones([run]))
        self._request(runs, wish.told(TOGETHER, TOGETHER))
        self._telling.say_left_inside()

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
            gone = self._settling.apply(
                run,
                RunEvent.WITHDRAWN,
                reason=StateReason.CANCEL_REQUESTED,
                message=message,
            )
            if gone and run.flow is not None and message is FLOW_ENDED:
                self._telling.inside_ended(run.flow)
        self._telling.say_left_inside()

    def end_with_flow(self, flow: Run, runs: Iterable[Run]) -> None:
        """Request the end of runs inside a flow run that has ended or is being cancelled."""
        runs = list(runs)
        self._telling.inside_ended(flow, open_ones(runs))
        self._request(runs, with_flow(flow))

    def all_ended_with_flow(self, flow: Run) -> None:
        """Say how many runs the end of a flow run has ended, or will: some still execute."""
        self._telling.say_inside(flow)

    def end_with_session(self, name: str, runs: Iterable[Run]) -> None:
        """Tell runs that the session they belong to is gone: what it executed itself crashes, what has not
        started is cancelled, what an agent executes may finish.
        """
        message = f"the process that owned it ({name}) is gone"
        for run in list(runs):
            self._settling.apply(run, RunEvent.SESSION_LOST, reason=StateReason.SESSION_LOST, message=message)
            if ended_together(run) and run.flow is not None:
                self._telling.inside_ended(run.flow)

    def all_ended_with_session(self) -> None:
        """Say of the flow runs that ended with their sessions how many runs inside did."""
        self._telling.say_left_inside()
