"""What resuming a flow run would do, call by call."""

from collections.abc import Iterator
from typing import NamedTuple

from taskyard._durable_names import public


@public("taskyard.flow_runs")
class PlannedRuns(NamedTuple):
    """Runs of one call that meet with the same, all of them for the same reason."""

    number: int
    """How many."""
    reused: bool
    """Whether their results are kept; otherwise they are executed."""
    why: str
    """Why, for people."""


@public("taskyard.flow_runs")
class PlannedCall(NamedTuple):
    """A call that the body of a flow makes: of a task, a map of one, or a nested flow."""

    name: str
    """The name of the task or flow."""
    runs: tuple[PlannedRuns, ...]
    """What becomes of its runs: of a map there may be several kinds."""


@public("taskyard.flow_runs")
class ResumePlan(NamedTuple):
    """What is reused and what is executed when a flow run is resumed, as far as that can be known before."""

    calls: tuple[PlannedCall, ...]
    """In the order in which the body makes them."""
    ends: str
    """Why nothing is known of what comes after these; empty when the body came to its end."""

    @property
    def reused(self) -> int:
        """How many runs are kept."""
        return sum(runs.number for runs in self._runs() if runs.reused)

    @property
    def executed(self) -> int:
        """How many runs are executed, at least."""
        return sum(runs.number for runs in self._runs() if not runs.reused)

    def _runs(self) -> Iterator[PlannedRuns]:
        return (runs for call in self.calls for runs in call.runs)
