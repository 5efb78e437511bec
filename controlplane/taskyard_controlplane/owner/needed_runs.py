"""Which runs open ones wait for or take results from, while retention looks for runs that may go.

Nothing is noted at any other time. What is submitted meanwhile is noted as it comes; what was there before is
read by whoever begins to look.
"""

from collections.abc import Iterable
from typing import Final

from taskyard_controlplane.domain.edges import EDGE_BYTES

MOST: Final = 500_000
"""Ids that are kept: some 50 MB. Where more is waited for, no run is removed until some of it is done."""


class NeededRuns:
    """Ids of upstream runs."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.noting = False
        """Whether anything is to be noted. To be looked at before `note` is called."""
        self._ids: set[bytes] = set()

    def begin(self) -> None:
        """Note what comes from here on."""
        self.noting = True

    def end(self) -> None:
        """Keep nothing any more."""
        self.noting = False
        self._ids.clear()

    def note(self, upstream_ids: Iterable[bytes]) -> None:
        """Note what an open run takes results from."""
        if len(self._ids) <= MOST:
            self._ids.update(upstream_ids)

    def note_packed(self, edges: bytes) -> None:
        """The same, as rows have it."""
        self.note(edges[start : start + 16] for start in range(0, len(edges), EDGE_BYTES))

    @property
    def too_many(self) -> bool:
        """Whether not all of them are known."""
        return len(self._ids) > MOST

    def __contains__(self, run_id: bytes) -> bool:
        """Whether an open run takes the result of this one."""
        return run_id in self._ids
