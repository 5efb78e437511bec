"""Calls that follow something: how they wait, and how they end when the server does.

A follower is woken from outside, works, and waits again. When nothing comes for a while it says so to its
caller, who learns that it is still there, and finds a connection dead that is; and so does the server.

Those that have much to read take turns at it, and all together have a share of the process and no more: what
they read for, runs, are executed by it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple

from taskyard_contract.errors import ServerStopping
from taskyard_controlplane.rpc.streams import Places
from taskyard_controlplane.settings import PeerSettings

QUIET_SECONDS: Final = 15.0
"""How long a caller hears nothing: shorter than what proxies allow an idle call."""
RETRY_SECONDS: Final = 0.5
"""By then the next server on this machine listens."""
REST: Final = 10
"""How many times as long as a turn lasted nobody has the next one, when one processor is busy meanwhile."""


class Attention:
    """Wakes one follower."""

    def __init__(self) -> None:
        """Let it begin at once."""
        self._event = asyncio.Event()
        self._stopping = False
        self.wake = self._event.set

    def stop(self) -> None:
        """Let it end."""
        self._stopping = True
        self._event.set()

    def check(self) -> None:
        """Go on only if the server does.

        Raises:
            ServerStopping: It does not.
        """
        if self._stopping:
            raise ServerStopping("the server stops; call again", retry_after=RETRY_SECONDS)

    def begin(self) -> None:
        """Begin to work: whatever wakes from here on is for the next time."""
        self._event.clear()
        self.check()

    async def wait(self, seconds: float) -> bool:
        """Wait until it is woken; False when so many seconds have passed.

        Raises:
            ServerStopping: The server stops.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self.check()
        return True


class Allowance:
    """What all that are behind may take together: a tenth or so of a busy process, half of an idle one."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.process_time,
    ) -> None:
        """Let the first one begin at once.

        Args:
            clock: Returns seconds that never jump.
            spent: Returns the seconds of a processor that this process has used.
        """
        self._clock = clock
        self._spent = spent
        self._turn = asyncio.Lock()
        self._last = _Turn(clock(), 0.0, spent())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it; the longer it lasts, the longer others wait for the next one."""
        async with self._turn:
            await self._rest()
            begin = self._clock()
            try:
                yield
            finally:
                end = self._clock()
                self._last = _Turn(end, end - begin, self._spent())

    async def _rest(self) -> None:
        """Wait as long as the last turn lasted, and many times as long if the process was busy meanwhile."""
        ended, lasted, spent = self._last
        await asyncio.sleep(ended + lasted - self._clock())
        rested = self._clock() - ended
        busy = min(1.0, (self._spent() - spent) / rested) if rested > 0 else 0.0
        await asyncio.sleep(ended + lasted * (1 + REST * busy) - self._clock())


class _Turn(NamedTuple):
    """One that is over."""

    ended: float
    lasted: float
    spent: float
    """By the whole process, until it ended."""


class Followers:
    """All calls that follow something, as many as the server takes."""

    def __init__(self, settings: PeerSettings) -> None:
        """Take as many as the settings say."""
        self._places = Places(
            "calls that follow runs or logs",
            most=settings.max_followers,
            per_address=settings.max_followers_per_address,
        )
        self._open: dict[Attention, None] = {}
        self._stopping = False

    @contextmanager
    def join(self, peer: str) -> Iterator[Attention]:
        """Be one of them, for as long as the call from `peer` is open.

        Raises:
            Overloaded: There are too many.
        """
        with self._places.take(peer):
            attention = Attention()
            self._open[attention] = None
            if self._stopping:
                attention.stop()
            try:
                yield attention
            finally:
                del self._open[attention]

    def begin_stop(self) -> None:
        """End all of them, so that their callers look for the next server."""
        self._stopping = True
        for attention in self._open:
            attention.stop()
