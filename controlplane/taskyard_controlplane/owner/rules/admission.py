"""The door to the queues: lets runs come to the gates of `domain.admission`, and does what a gate asks for.

Every run that is new or was read back comes in here; runs that have waited or were tried before come to the
same gates by the transition table, whose effects end in `arrange` as well. Invariant: a run stands before one
gate or in a queue, never both, and nobody else decides which.
"""

from collections.abc import Sequence
from typing import Final

from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.machine import admit
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.rules.cache import CacheFlights
from taskyard_controlplane.owner.rules.upstream import UpstreamEdges

_CONNECT_UPSTREAM: Final = int(Effect.CONNECT_UPSTREAM)
_LOOK_UP_CACHE: Final = int(Effect.LOOK_UP_CACHE)


class Admission:
    """Brings runs to the gates."""

    def __init__(self, upstream: UpstreamEdges, cache: CacheFlights) -> None:
        """Let runs wait for `upstream` runs and for the fate of their keys in the `cache`."""
        self._upstream = upstream
        self._cache = cache

    def enter(self, run: Run, waits: int, edges: Sequence[tuple[bytes, int]] = ()) -> int:
        """Bring a run to the gates with its reasons to wait, and do what the first one asks for.

        Queueing is left to the caller, because that has to wait for a commit when the run is new.

        Returns:
            The effects, of which only `Effect.ENQUEUE` is still to be done.
        """
        effects = admit(run, waits)
        self.arrange(run, effects, edges)
        return effects

    def arrange(self, run: Run, effects: int, edges: Sequence[tuple[bytes, int]] = ()) -> None:
        """Do what the gate asks for that a run has come to."""
        if effects & _CONNECT_UPSTREAM:
            self._upstream.connect(run, edges)
        if effects & _LOOK_UP_CACHE:
            # Asked with the commit that is open, so that a new run's key costs no commit of its own.
            self._cache.enter(run)
