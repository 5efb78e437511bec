"""Outcomes that are no ordinary results: each is taken once, and how its run ended is said by then."""

from collections.abc import Callable, Iterable, MutableMapping, Sequence

from taskyard._data.values.awaited import AwaitedRun
from taskyard._data.values.kept import SMALL_BYTES
from taskyard._data.values.told import Told
from taskyard_api.v1 import session_service_pb2 as pb


class Ends:
    """Settles runs whose outcomes have come."""

    def __init__(self) -> None:
        """Say nothing until somebody sets `say`."""
        self.say: Callable[[Sequence[pb.RunOutcome]], None] | None = None
        """Says how runs ended, if that needs to be said."""

    def settle(
        self, outstanding: MutableMapping[bytes, AwaitedRun], outcomes: Iterable[pb.RunOutcome]
    ) -> list[AwaitedRun]:
        """Take out the runs that some outcomes are of, have it said how they ended, and store it.

        It is said before those go on who have waited, and once, however often an outcome was sent.

        Returns:
            Those that somebody waits for, who is to be woken.
        """
        taken = []
        for outcome in outcomes:
            run = outstanding.pop(outcome.run_id, None)
            if run is not None:
                taken.append((run, outcome))
        news = [outcome for run, outcome in taken if not run.is_again]
        if news and self.say is not None:
            self.say(news)
        return [run for run, outcome in taken if _put(run, outcome)]


def _put(run: AwaitedRun, outcome: pb.RunOutcome) -> bool:
    data = outcome.SerializeToString()
    is_awaited = run.put(Told(data))
    if len(data) > SMALL_BYTES:
        run.weigh(len(data))
    return is_awaited
