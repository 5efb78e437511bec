"""How long after a failed attempt the next one begins."""

import random
from collections.abc import Callable

from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.domain.retries import delay_after, jittered


class RetryDelays:
    """What templates ask for, with jitter, and shorter where a server is to lose no time with it."""

    def __init__(self, draw: Callable[[], float] = random.random, factor: float = 1.0) -> None:
        """Draw jitter with `draw`, which gives numbers from [0, 1); `factor`, from 0 to 1, shortens delays.

        What shall be retried later still is: with 0 it waits for its time, which has come.
        """
        self._draw, self._factor = draw, factor

    def of(self, run: Run) -> float:
        """Return the seconds until the next attempt of a run, which counts as begun already."""
        base = delay_after(run.template, run.attempt - 1)
        return jittered(base, run.template.jitter, self._draw()) * self._factor
