"""Who hears what runs say: the program that all of it is about.

Runs that a task has submitted belong to a session of its worker, which has no terminal. What they say goes to
the session of that task's run, and so on upwards.
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
    session = run.session
    for _ in range(_DEEPEST):
        if session is None or not session.caller_run_id:
            return session
        caller = runs.get(session.caller_run_id)
        session = caller.session if caller is not None else None
    return None
