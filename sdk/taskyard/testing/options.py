"""What a test harness can be started with."""

import os
from dataclasses import dataclass, fields, replace
from typing import Final

TASK_RUNNERS: Final = ("agents", "threads")
AT_ONCE: Final = 0.0
"""As a factor: delays before retries are over when they begin."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a harness; None for what nobody has said."""

    task_runner: str | None = None
    """Who executes the tasks of flows that do not say it themselves; without it what the environment says."""
    slots: int | None = None
    """Workers of the agent; without it one for each processor."""
    retry_delay_factor: float | None = None
    """What delays before retries are multiplied with; without it 0."""

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: One of them makes no sense.
        """
        if self.task_runner not in (None, *TASK_RUNNERS):
            raise ValueError(
                f"'task_runner' must be one of {', '.join(TASK_RUNNERS)}, got '{self.task_runner}'"
            )
        if self.slots is not None and self.slots < 1:
            raise ValueError(f"'slots' must be at least 1, got {self.slots}")
        factor = self.retry_delay_factor
        if factor is not None and not 0 <= factor <= 1:
            raise ValueError(f"'retry_delay_factor' must lie between 0 and 1, got {factor}")

    def complete(self) -> "Options":
        """Return them with a value for what the programs have to be told."""
        factor = self.retry_delay_factor
        return replace(
            self,
            slots=self.slots or os.cpu_count() or 1,
            retry_delay_factor=AT_ONCE if factor is None else factor,
        )

    def difference(self, running: "Options") -> str:
        """Say what of these a harness that runs has otherwise; "" for nothing.

        Who executes tasks is no part of that: it can be another one inside of a block.
        """
        names = [field.name for field in fields(self) if field.name != "task_runner"]
        pairs = [(name, getattr(self, name), getattr(running, name)) for name in names]
        return ", ".join(
            f"{name}={there}, not {wanted}" for name, wanted, there in pairs if wanted not in (None, there)
        )
