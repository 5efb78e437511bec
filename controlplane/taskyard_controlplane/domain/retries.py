"""May an attempt be repeated, and when. Random numbers are arguments."""

from typing import Final

from taskyard_controlplane.domain.model import Run, Template

LONGEST_DELAY: Final = 1000 * 365 * 24 * 3600.0
"""A thousand years in seconds: what is longer could not be added to a time of today."""


def has_retry(run: Run) -> bool:
    """Whether user code may be tried again: attempts = retries + 1."""
    return run.attempt <= run.template.max_retries


def retries_later(run: Run) -> bool:
    """Whether the retry after the attempt that just failed has a delay."""
    return delay_after(run.template, run.attempt) > 0


def has_infra_retry(run: Run) -> bool:
    """Whether the run may be repeated after its worker or agent was lost."""
    return run.infra_retries < run.template.max_infra_retries


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
