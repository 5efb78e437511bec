"""How much is read from streams: no more than the database takes.

gRPC lets a peer send as fast as it is read, so a stream that is not read is a peer that waits. What was read
counts until the commit is durable that was open when its frame had been applied, and the log records are
stored that came before; a stream is read while its peer has less than its share of that, all peers together
less than theirs, and while the peer itself takes in what it is told. One frame is always read beyond it: how
large a frame is shows only afterwards.

While somebody waits, whoever sends much is read less (`crowd`); log records always, because nobody waits for
them.

Nothing here is about order or loss. What is not read stays with its peer, which keeps it until it is
acknowledged in any case.
"""

import asyncio
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.peers.peer import Peer
from taskyard_controlplane.owner.serving.crowd import Crowd, pause_after

FEW_BYTES: Final = 256
"""A frame of so few bytes, a heartbeat for example, asks for no commit to be counted in."""

Charges = dict[Peer, tuple[int, int, int]]


class Intake:
    """What was read from peers of one kind and is not durable yet."""

    def __init__(
        self, committer: Committer, clock: Clock, *, per_peer: int, most: int, most_batches: int = 0
    ) -> None:
        """Read from peers as `committer` commits.

        Args:
            committer: Who makes durable what was read.
            clock: Says who submits at the same time.
            per_peer: Bytes of one peer.
            most: Bytes of all of them.
            most_batches: Submissions of one peer, which are counted as well; 0 for peers that submit nothing,
                and leave room for each other by what they may hold.
        """
        self._committer = committer
        self.crowd = Crowd(clock, per_peer)
        self._per_peer = per_peer
        self._most = most
        self._most_batches = most_batches
        self._total = 0
        self._commit: Commit | None = None
        self._charges: Charges = {}
        self._held_up: dict[Peer, None] = {}

    @property
    def total(self) -> int:
        """How many bytes were read and are not durable."""
        return self._total

    async def took(
        self, peer: Peer, size: int, *, runs: int | None = None, defined: int = 0, logs: bool = False
    ) -> None:
        """Count a frame that was applied; returns when the next one may be read.

        Args:
            peer: Whose frame it is.
            size: How many bytes the frame has.
            runs: How many new runs it submits; None when it submits nothing.
            defined: How many of its bytes are templates and code.
            logs: Whether it carries log records.
        """
        if size > FEW_BYTES or runs is not None:
            self.crowd.note(peer, size, runs or 0)
            self._charge(peer, size, int(runs is not None), runs or 0)
            pause = pause_after(size, defined)
            if pause and (logs or (self._most_batches and self.crowd.waits_beside(peer))):
                await asyncio.sleep(pause)
        if not self._has_room(peer):
            await self._wait_for_room(peer)

    def _has_room(self, peer: Peer) -> bool:
        return (
            peer.unsettled_bytes <= self._per_peer
            and not (self._most_batches and self.crowd.has_its_share(peer))
            and self._total <= self._most
            and peer.unsettled_batches <= self._most_batches
            and peer.listens
        )

    async def _wait_for_room(self, peer: Peer) -> None:
        self._held_up[peer] = None
        try:
            while not self._has_room(peer):
                peer.held_up = asyncio.get_running_loop().create_future()
                await peer.held_up
        finally:
            peer.held_up = None
            self._held_up.pop(peer, None)

    def _charge(self, peer: Peer, size: int, batches: int, runs: int) -> None:
        commit = self._committer.open
        if self._commit is not commit:
            self._commit, self._charges = commit, {}
            charges = self._charges
            logs = self._committer.logs
            commit.then.append(lambda: logs.when_written(commit.log_batch, lambda: self._settle(charges)))
            self._committer.touch()
        known = self._charges.get(peer, (0, 0, 0))
        self._charges[peer] = (known[0] + size, known[1] + batches, known[2] + runs)
        peer.unsettled_bytes += size
        peer.unsettled_batches += batches
        peer.unsettled_runs += runs
        self._total += size

    def _settle(self, charges: Charges) -> None:
        for peer, (size, batches, runs) in charges.items():
            peer.unsettled_bytes -= size
            peer.unsettled_batches -= batches
            peer.unsettled_runs -= runs
            self._total -= size
        if self._charges is charges:
            self._commit = None  # or its rows would stay in memory until the next frame
        for peer in self._held_up:
            peer.go_on()
