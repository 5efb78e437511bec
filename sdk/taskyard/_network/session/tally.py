"""How many runs of this process have ended, for whoever shows how far a flow run is.

Counted where results arrive, by frames: while one flow run is watched, all that ends is taken for its own and
a frame costs one addition. Only while several are watched, or this process executes runs itself, each run is
asked where it comes from.

Invariant: used on the loop's thread only, but for reading the numbers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from taskyard._data.values.awaited import AwaitedRun
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.states import RunState

_FAILED: Final = frozenset({int(RunState.FAILED), int(RunState.CRASHED), int(RunState.NOT_READY)})


class Ends:
    """How many runs of one origin have ended."""

    __slots__ = ("ended", "failed", "mixed", "origin")

    def __init__(self, origin: object, *, mixed: bool = False) -> None:
        """Begin with none.

        Args:
            origin: Where the runs are submitted from.
            mixed: Whether others of this process submit as well, though nobody watches them.
        """
        self.origin = origin
        self.mixed = mixed
        self.ended = 0
        self.failed = 0


class Tally:
    """Counts the ends of runs, by origin."""

    def __init__(self) -> None:
        """Count nobody's yet."""
        self._watched: dict[object, Ends] = {}
        self.has_rereads = False
        """Whether outcomes may come of runs that ended before. Any thread sets it, for good."""

    def begin(self, ends: Ends) -> None:
        """Count the ends of an origin from now on."""
        self._watched[ends.origin] = ends

    def end(self, ends: Ends) -> None:
        """Count them no more."""
        if self._watched.get(ends.origin) is ends:
            del self._watched[ends.origin]

    def note(self, results: pb.ResultBatch, outstanding: Mapping[bytes, AwaitedRun]) -> None:
        """Count a batch of results, before its runs are taken out of those that are `outstanding`."""
        watched = self._watched
        if not watched:
            return
        others = results.others
        ends = next(iter(watched.values()))
        if len(watched) == 1 and not ends.mixed and not self.has_rereads:
            ends.ended += len(results.run_ids) + len(others)
            ends.failed += sum(outcome.state in _FAILED for outcome in others) if others else 0
            return
        self._add("ended", [*results.run_ids, *(outcome.run_id for outcome in others)], outstanding)
        if others:
            failed = [outcome.run_id for outcome in others if outcome.state in _FAILED]
            self._add("failed", failed, outstanding)

    def note_refused(self, run: AwaitedRun) -> None:
        """Count a run that the server did not take."""
        if run.is_again:
            return
        ends = self._watched.get(_counted_for(run.origin))
        if ends is not None:
            ends.ended += 1
            ends.failed += 1

    def _add(self, what: str, run_ids: Iterable[bytes], outstanding: Mapping[bytes, AwaitedRun]) -> None:
        runs = map(outstanding.get, run_ids)
        ended = [run.origin for run in runs if run is not None and not run.is_again]
        for origin, count in Counter(ended).items():
            ends = self._watched.get(_counted_for(origin))
            if ends is not None:
                setattr(ends, what, getattr(ends, what) + count)


def _counted_for(origin: object) -> object:
    """Return the origin that numbers what another one submits."""
    return getattr(origin, "numbered_by", None) or origin


def oldest(outstanding: Mapping[bytes, AwaitedRun], most: int) -> list[AwaitedRun]:
    """Return the oldest of some runs, which another thread takes runs out of meanwhile."""
    try:
        return list(islice(outstanding.values(), most))
    except RuntimeError:  # which it has just done
        return []
