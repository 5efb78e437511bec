"""Who hears what runs say: the program that all of it is about.

Runs that a task has submitted belong to a session of its worker, which has no terminal. What they say goes to
the session of that task's run, and so on upwards; of what a run has left behind, to that of their flow run.
"""

from collections.abc import Mapping
from typing import Final

from taskyard_controlplane.domain.model import Run, Submitter

_DEEPEST: Final = 1_000
"""Callers of callers that are looked for: deeper than any program gets, and never round in a circle."""


def listener_of(run: Run, runs: Mapping[bytes, Run]) -> Submitter | None:
    """Return the session of the program that a run is part of; None when there is none, or it is not known.

    Args:
        run: The run.
        runs: Those that are open.
    """
    for _ in range(_DEEPEST):
        session = run.session
        if session is None or not session.caller_run_id:
            return session
        above = runs.get(run.submitted_from) or run.flow
        if above is None or above is run:
            return None
        run = above
    return None
