"""May an attempt be repeated, and when. Random numbers are arguments."""

from typing import Final

from taskyard_controlplane.domain.model import Run, Template

MAX_STRIKES: Final = 3
"""Agents lost with a run that is not known to have started, before the run is counted as having had a part in
it."""
LONGEST_DELAY: Final = 1000 * 365 * 24 * 3600.0
"""A thousand years in seconds: what is longer could not be added to a time of today."""

LATEST_US: Final = 1 << 60
"""Times beyond, in microseconds, would not fit into the database when they are added."""


def has_retry(run: Run) -> bool:
    """Whether user code may be tried again: attempts = retries + 1."""
    return run.attempt <= run.template.max_retries


def retries_later(run: Run) -> bool:
    """Whether the retry after the attempt that just failed has a delay."""
    return delay_after(run.template, run.attempt) > 0


def has_infra_retry(run: Run) -> bool:
    """Whether the run may be repeated after its worker or agent was lost."""
    return run.infra_retries < run.template.max_infra_retries


def is_innocent(run: Run) -> bool:
    """Whether a run that was lost with its agent, and is not known to have started, goes on for free.

    Most of what an agent has in hand waits in its queue, so the first few times it is taken to have done so.
    It is not whenever it happens: what ends its agent before that can say that it started has to be found
    out, too.
    """
    return run.strikes < MAX_STRIKES


def delay_after(template: Template, failed_attempts: int) -> float:
    """Return the seconds to wait after so many failed attempts; the last entry serves all further ones."""
    delays = template.delays
    if not delays:
        return 0.0
    return delays[min(failed_attempts - 1, len(delays) - 1)]


def jittered(delay: float, factor: float, random: float) -> float:
    """Draw a delay around `delay`.

    Uniform between ``delay * (1 - factor)``, at least 0, and ``delay * (1 + factor)``: up to a factor of 1
    the mean is the delay itself, and the upper bound is what users were promised.

    Args:
        delay: Seconds.
        factor: The template's jitter factor; 0, or what is no number, leaves the delay as it is.
        random: A number from [0, 1).
    """
    if not factor > 0 or delay <= 0:
        return delay
    low, high = max(0.0, delay * (1 - factor)), min(delay * (1 + factor), LONGEST_DELAY)
    return low + (high - low) * random
