"""What a peer may send while others wait for the answers to a few things each.

What others send waits for the same commits, and for the same event loop. So whoever sends much has a small
share of both while somebody sends little: what a frame has beyond one portion goes into later commits, and
after a large frame its peer is not read for a while, because a frame cannot be cut before it is read, and its
reading alone stops everything else for milliseconds. How long a run of one takes does not depend on how many
another one sends. Those who send much among themselves share by what each may have under way.
"""

from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.peers.peer import Peer
from taskyard_controlplane.owner.queueing.new_groups import WHOLE, Portion

WAITING_SECONDS: Final = 1.0
"""Who has sent something small within this time is said to wait for what follows from it."""
FAIR_RUNS: Final = 32
"""Of somebody who sends much, that are not durable: some 2 ms of work. To send fewer at a time is little."""
FAIR_PART: Final = 128
"""The bytes of one in a commit are one part in so many of what it could have otherwise: 128 KiB, which are
written in a millisecond."""
FAIR_RATE: Final = 32 * 1024 * 1024
"""Bytes of one in a second, in frames that are not small."""
DEFINED_WEIGHT: Final = 7
"""How much more bytes of templates and code count: they are hashed, looked for, and written in commits of
their own. Programs send them once."""
SMALL_BYTES: Final = 64 * 1024
"""Frames up to this size stop nothing."""
LARGE_BYTES: Final = 4 * 1024 * 1024
"""What programs of ours send. Of larger frames fewer bytes are read in a second."""


class Crowd:
    """Who has sent something small lately."""

    def __init__(self, clock: Clock, per_peer: int) -> None:
        """Nobody has; a peer may have `per_peer` bytes under way when nobody waits."""
        self._clock = clock
        self._bytes = per_peer // FAIR_PART
        # By their id(): one that is gone should not be kept for this.
        self._latest = self._before = 0
        self._latest_at = self._before_at = -WAITING_SECONDS

    def note(self, peer: Peer, size: int, runs: int) -> None:
        """Note that a peer has sent something: so many bytes, with so many new runs."""
        if runs >= FAIR_RUNS or size > SMALL_BYTES:
            return
        if id(peer) != self._latest:
            self._before, self._before_at = self._latest, self._latest_at
            self._latest = id(peer)
        self._latest_at = self._clock.monotonic()

    def waits_beside(self, peer: Peer) -> bool:
        """Whether somebody waits, other than a peer itself."""
        others_at = self._before_at if id(peer) == self._latest else self._latest_at
        return self._clock.monotonic() - others_at < WAITING_SECONDS

    def portion(self, peer: Peer) -> Portion:
        """Return how much of a frame of a peer may go into one commit."""
        return Portion(FAIR_RUNS, self._bytes) if self.waits_beside(peer) else WHOLE

    def has_its_share(self, peer: Peer) -> bool:
        """Whether a peer has as much of the next commits as others can wait for, if somebody does."""
        if peer.unsettled_runs < FAIR_RUNS and peer.unsettled_bytes <= self._bytes:
            return False
        return self.waits_beside(peer)


def pause_after(size: int, defined: int = 0) -> float:
    """Return for how many seconds a peer whose frames have to leave room is not read after one of them.

    Args:
        size: Bytes of the frame.
        defined: Of these, bytes of templates and code.
    """
    if size <= SMALL_BYTES:
        return 0.0
    return (size + DEFINED_WEIGHT * defined) / FAIR_RATE * max(1.0, size / LARGE_BYTES)
