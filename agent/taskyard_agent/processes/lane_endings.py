"""What becomes of the runs of a lane that has ended. Pure, but for the account they leave.

The run on whose account it was ended pays: it timed out, is cancelled, or dropped. All others that were live
are lost as with a machine, and repeated. When a lane died by itself nobody knows which of them ended it: all
are lost, as WORKER_DIED, and are executed apart when that happens to them again. What had not begun is begun
elsewhere.
"""

from collections.abc import Callable

from taskyard_agent.holding.chunks import Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.terminating import Ending, Why, describe_exit
from taskyard_contract.execution import expired_silent, expired_timeout
from taskyard_contract.states import StateReason

SHARED = "the process that it shared with other async tasks was ended on account of one of these"


def settle(
    holdings: Holdings, lane: LaneHandle, status: int | None, suspect: Callable[[Span], None]
) -> list[Span]:
    """End what was live in a lane that is gone; returns what had not begun.

    Args:
        holdings: The account.
        lane: The lane.
        status: Its wait status.
        suspect: Takes each run that may have ended it.
    """
    ending = lane.ending
    if ending is not None:
        ending.done()
    live = {(one.number, one.position) for _, one in lane.live() if one.begun}
    stopping, spans = dict(lane.stopping), dict(lane.spans)  # which empty below
    ended = {key for key in live | stopping.keys() if lane.is_open(*key)}
    for number, position in sorted(ended):
        one = spans[number].one(position)
        if lane.reported(number, position, position + 1) is None:
            continue
        if (number, position) in stopping:
            end_stopped(holdings, one, stopping[number, position][1])
        elif ending is not None:
            _end_on_account(holdings, one, ending)
        else:
            _end_with_lane(holdings, one, status, len(live))
            if len(live) > 1:
                suspect(one)
    return lane.surrender()


def end_stopped(holdings: Holdings, one: Span, confirm: bool) -> None:
    """End a run that was told to end, and has."""
    if confirm:
        holdings.cancel(one)
    else:
        holdings.drop([one])


def _end_on_account(holdings: Holdings, one: Span, ending: Ending) -> None:
    template, why = one.chunk.template, ending.why
    if why is Why.LEASE_LOST:
        message = "the agent lost its lease, and ended what it executed"
        holdings.lose(one, StateReason.AGENT_LOST, message)
    elif why is Why.STOPPED:
        holdings.lose(one, StateReason.WORKER_DIED, "the agent stopped before the run had ended")
    elif one.find(ending.key) is None:
        holdings.lose(one, StateReason.WORKER_DIED, SHARED)
    elif why is Why.TIMED_OUT:
        holdings.lose(one, StateReason.TIMED_OUT, expired_timeout(template.timeout))
    elif why is Why.SILENT:
        holdings.lose(one, StateReason.TIMED_OUT, expired_silent(template.heartbeat_timeout))
    else:
        holdings.lose(one, StateReason.WORKER_DIED, SHARED)


def _end_with_lane(holdings: Holdings, one: Span, status: int | None, live: int) -> None:
    message = describe_exit(status)
    if live > 1:
        message += f"; {live} async tasks shared it, and which of them ended it is not known"
    holdings.lose(one, StateReason.WORKER_DIED, message)
