"""What a watcher is told, and the tokens by which it comes back.

A filter may say things of a run that change while it is open. A watcher that was told of a run has to hear
when it does not fit any more, once, or it would show it for ever. So what it was told to fit is remembered; a
watcher that came back with a token, or was told too much to remember, hears of every run that may be meant.
"""

from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.reading.filters import Pick
from taskyard_controlplane.reading.tokens import TokenKind

MOST_TOLD: Final = 20_000
"""Open runs that are remembered of one watcher: some 2 MB."""

_TOKENS: Final = TokenKind(
    1,
    87,  # no listing has this number, so no page token is taken for one
    3,
    field="resume_token",
    issuer="WatchRuns",
    again="watch without one",
)


class Told:
    """Which open runs a watcher was told to fit."""

    def __init__(self, pick: Pick, *, resumed: bool) -> None:
        """Remember for a filter; nothing is known of what was told before one was `resumed`."""
        self._pick = pick
        self._runs: set[bytes] = set()
        self._unsure = resumed and pick.can_be_left

    def wants(self, run: pb.Run) -> bool:
        """Whether to tell of a run that has changed, and fits but for what may change."""
        if self._pick.fits(run):
            if run.state >= FIRST_FINAL:
                self._runs.discard(run.run_id)
            elif self._pick.can_be_left:
                self._remember(run.run_id)
            return True
        if run.run_id in self._runs:
            self._runs.discard(run.run_id)
            return True
        return self._unsure

    def _remember(self, run_id: bytes) -> None:
        if self._unsure:
            return
        self._runs.add(run_id)
        if len(self._runs) > MOST_TOLD:
            self._unsure = True
            self._runs.clear()


class ResumePoint(NamedTuple):
    """Where a watch goes on."""

    generation: int
    """Of the owner that numbered the changes."""
    position: int
    """Changes up to here were told."""
    beyond: int = 0
    """Of the runs as they were in the beginning, those up to here were told too; 0: all of them."""


def encode(point: ResumePoint, scope: bytes) -> str:
    """Return the token that stands for a point, for a watch of what `scope` is of."""
    return _TOKENS.write(point, scope)


def decode(token: str, scope: bytes) -> ResumePoint | None:
    """Return the point a token stands for, None for the empty token.

    Raises:
        InvalidRequest: It is no resume token, or one of another filter.
    """
    numbers = _TOKENS.read(token, scope)
    return None if numbers is None else ResumePoint._make(numbers)
