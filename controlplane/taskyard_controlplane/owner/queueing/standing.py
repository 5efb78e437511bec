"""Whose turns a run takes, and how urgent it is: that of whoever waits for it, if somebody does. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from taskyard_controlplane.domain.model import AGENT, Run

NOBODYS: Final = 0
"""The share of runs that were submitted by nobody's session."""
MOST_STEPS: Final = 1_000
"""From a run to who waits for it, and so on: more than callers can be inside of each other, so that a circle
ends the search."""


class Standing(NamedTuple):
    """Where a run stands among all that are ready in its queue."""

    share: int
    """The number of the session whose turns it takes; `NOBODYS` for none."""
    priority: int
    caller_id: bytes
    """The run that waits for it; empty for none."""


def share_of(run: Run) -> int:
    """Return the number of the session that a run belongs to, whoever waits for it."""
    # Who subscribes to a run of nobody's session becomes its session, and has not submitted it.
    return run.session.share if run.session is not None and run.owned else NOBODYS


def standing_of(run: Run, runs: Mapping[bytes, Run]) -> Standing:
    """Return where a run stands; `runs` are those that are open, of which one may wait for it.

    A worker has a session of its own, for what its runs submit. So it is the session of the first caller that
    counts, or one program would get as many turns as it has workers.
    """
    caller_id, priority = run.waited_for_by, run.template.priority
    if not caller_id:
        return Standing(share_of(run), priority, b"")
    top = run
    for _ in range(MOST_STEPS):
        waiting = top.waited_for_by
        above = runs.get(waiting) if waiting else None
        if above is None and waiting:
            above = top.flow  # its caller has ended: what that left behind goes on inside the flow run
        if above is None or above is top:
            break
        top = above
        if top.template.executor == AGENT:
            priority = min(priority, top.template.priority)
    return Standing(share_of(top), priority, caller_id)
