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
    in_process: bool | None = None
    """Whether everything is in the process of the tests, with a clock that can be set forward."""

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
        if self.in_process and (self.task_runner == "agents" or self.slots is not None):
            raise ValueError(
                "'in_process' leaves no agent whose tasks could have a process of their own: leave out"
                " task_runner='agents' and 'slots', or 'in_process'"
            )
        factor = self.retry_delay_factor
        if factor is not None and not 0 <= factor <= 1:
            raise ValueError(f"'retry_delay_factor' must lie between 0 and 1, got {factor}")

    def complete(self) -> "Options":
        """Return them with a value for what the programs have to be told."""
        factor = self.retry_delay_factor
        return replace(
            self,
            slots=self.slots or (None if self.in_process else os.cpu_count() or 1),
            in_process=bool(self.in_process),
            retry_delay_factor=AT_ONCE if factor is None else factor,
        )

    def difference(self, running: "Options") -> str:
        """Say what of these a harness that runs has otherwise; "" for nothing.

        Who executes tasks is no part of that where there are agents: it can be another one inside of a block.
        """
        if running.in_process and self.task_runner == "agents":
            return "task_runner=threads, not agents"
        names = [field.name for field in fields(self) if field.name != "task_runner"]
        pairs = [(name, getattr(self, name), getattr(running, name)) for name in names]
        return ", ".join(
            f"{name}={there}, not {wanted}" for name, wanted, there in pairs if wanted not in (None, there)
        )
