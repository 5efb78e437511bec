"""What a watcher is told, and the tokens by which it comes back.

A filter may say things of a run that change while it is open. A watcher that was told of a run has to hear
when it does not fit any more, once, or it would show it for ever. So what it was told to fit is remembered; a
watcher that came back with a token, or was told too much to remember, hears of every run that may be meant.
"""

import base64
import binascii
import struct
from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.reading.filters import Pick
from taskyard_controlplane.reading.page_tokens import SCOPE_BYTES

MOST_TOLD: Final = 20_000
"""Open runs that are remembered of one watcher: some 2 MB."""

_VERSION: Final = 1
_KIND: Final = 87  # no listing has this number, so no page token is taken for one
_FORMAT: Final = struct.Struct(f">BB{SCOPE_BYTES}sqqq")
_LENGTH: Final = len(base64.urlsafe_b64encode(bytes(_FORMAT.size)).rstrip(b"="))


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
    return base64.urlsafe_b64encode(_FORMAT.pack(_VERSION, _KIND, scope, *point)).decode().rstrip("=")


def decode(token: str, scope: bytes) -> ResumePoint | None:
    """Return the point a token stands for, None for the empty token.

    Raises:
        InvalidRequest: It is no resume token, or one of another filter.
    """
    if not token:
        return None
    version = kind = 0
    bound, point = b"", ResumePoint(0, 0)
    if len(token) == _LENGTH:
        try:
            packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            version, kind, bound, *numbers = _FORMAT.unpack(packed)
            point = ResumePoint._make(numbers)
        except (binascii.Error, ValueError, struct.error):
            pass
    if version != _VERSION or kind != _KIND or min(point) < 0:
        raise InvalidRequest(
            "resume_token was not issued by WatchRuns; watch without one", field="resume_token"
        )
    if bound != scope:
        raise InvalidRequest(
            "resume_token was issued for another filter; repeat that one, or watch without",
            field="resume_token",
        )
    return point
