"""Outcomes that have come, were dropped for want of room (`kept`), and are asked for once more.

They come like those of runs that somebody else has submitted: a session subscribes, and the control plane
answers from what it has recorded. So they outlast broken streams and restarts, as all that is awaited does.
"""

from typing import TYPE_CHECKING
from weakref import ref

from taskyard._data.values.awaited import AwaitedRun
from taskyard._data.values.kept import Dropped
from taskyard_contract.errors import TaskyardError

if TYPE_CHECKING:
    from taskyard._data.values.awaited import Outcome


class Reread(AwaitedRun):
    """A run that has ended, while its outcome is on its way once more. Gives it to whom it was dropped by."""

    __slots__ = ("_dropped", "_whose")

    is_again = True

    def __init__(self, run: AwaitedRun, dropped: Dropped) -> None:
        """Await the outcome of `run` that was `dropped`."""
        super().__init__(run.run_id, run.origin)
        self._whose = ref(run)
        self._dropped = dropped

    def put(self, outcome: "Outcome") -> bool:
        """Store the outcome, also where it was dropped, if anybody holds that."""
        run = self._whose()
        if run is not None and not isinstance(outcome, TaskyardError):
            run.take_back(self._dropped, outcome)
        return super().put(outcome)

    def weigh(self, size: int) -> None:
        """Note how large the outcome is that was given back."""
        run = self._whose()
        if run is not None:
            run.weigh(size)
