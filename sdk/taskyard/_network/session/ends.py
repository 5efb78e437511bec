"""Outcomes that are no ordinary results: each is taken once, and how its run ended is said by then."""

from collections.abc import Callable, Iterable, MutableMapping, Sequence

from taskyard._data.values.awaited import AwaitedRun
from taskyard_api.v1 import session_service_pb2 as pb


class Ends:
    """Takes out runs whose outcomes have come."""

    def __init__(self) -> None:
        """Say nothing until somebody sets `say`."""
        self.say: Callable[[Sequence[pb.RunOutcome]], None] | None = None
        """Says how runs ended, if that needs to be said."""

    def take(
        self, outstanding: MutableMapping[bytes, AwaitedRun], outcomes: Iterable[pb.RunOutcome]
    ) -> list[tuple[AwaitedRun, pb.RunOutcome]]:
        """Take out the runs that some outcomes are of, and have it said how they ended.

        It is said before those go on who have waited, and once, however often an outcome was sent.
        """
        taken = []
        for outcome in outcomes:
            run = outstanding.pop(outcome.run_id, None)
            if run is not None:
                taken.append((run, outcome))
        if taken and self.say is not None:
            self.say([outcome for _, outcome in taken])
        return taken
