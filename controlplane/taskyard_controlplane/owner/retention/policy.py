"""How long what is over is kept. Pure.

Whatever the times are, what somebody needs stays: that is decided in `needs`, not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.storage.interface.removals import OldRun

DAY_US: Final = 24 * 3600 * 1_000_000
FOR_EVER: Final = 1 << 62
"""As a time: longer than anything."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to keep what; times in microseconds."""

    runs_us: int = 30 * DAY_US
    """Runs, from their end on. Default 30 days."""
    logs_us: int = 14 * DAY_US
    """What runs logged, from when it was logged on. Default 14 days: it is most of what a run takes."""
    states_us: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    """The same as `runs_us`, of runs that ended in certain states."""
    keep_last: int = 0
    """So many runs of each flow stay however old they are. Default 0."""
    home_bytes: int = 0
    """How much the database and the blobs may take together before the oldest runs go early; 0: any
    amount."""
    only_states: frozenset[int] = frozenset()
    """Remove only runs that ended in these states; empty: in any."""

    def kept_for(self, state: int) -> int:
        """Return for how long a run is kept that ended in a state."""
        if self.only_states and state not in self.only_states:
            return FOR_EVER
        return self.states_us.get(state, self.runs_us)

    @property
    def shortest(self) -> int:
        """For how long any run is kept at least."""
        if self.only_states:
            return min(map(self.kept_for, self.only_states))
        return min([self.runs_us, *self.states_us.values()])

    def is_over(self, run: OldRun, now_us: int) -> bool:
        """Whether the time of a run is over."""
        if run.state < FIRST_FINAL or run.ended_us is None:
            return False
        return not self.kept_for(run.state) or self.late_us(run, now_us) >= 0

    def late_us(self, run: OldRun, now_us: int) -> int:
        """For how long the time of a run that has ended has been over; negative when it is not."""
        # The clock of its agent, which says when it ended, may be ahead, or far behind.
        ended_us = max(run.ended_us or 0, run.submitted_us)
        return now_us - ended_us - self.kept_for(run.state)

    def pruning(self, older_than_us: int | None, states: frozenset[int]) -> "Policy":
        """Return what somebody asks for who does not wait for the times: he says how old is old enough."""
        if older_than_us is None:
            return replace(self, only_states=states)
        return replace(
            self,
            runs_us=older_than_us,
            logs_us=min(self.logs_us, older_than_us) if not states else self.logs_us,
            states_us=MappingProxyType({}),
            only_states=states,
        )


DEFAULT_POLICY: Final = Policy()
