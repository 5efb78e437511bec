"""Calls that follow something: how they wait, and how they end when the server does.

A follower is woken from outside, works, and waits again. When nothing comes for a while it says so to its
caller, who learns that it is still there, and finds a connection dead that is; and so does the server.

Those that have much to read take turns at it, and all together have a share of the process and no more while
it is busy with what they read for: runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from taskyard_contract.errors import ServerStopping
from taskyard_controlplane.rpc.streams import Places
from taskyard_controlplane.settings import PeerSettings

QUIET_SECONDS: Final = 15.0
"""How long a caller hears nothing: shorter than what proxies allow an idle call."""
RETRY_SECONDS: Final = 0.5
"""By then the next server on this machine listens."""
REST: Final = 20
"""How many times as long as a turn lasted nobody has the next one, while the owner is busy; a quarter of that
while it is half as busy, because what is read then is in nobody's way."""
BUSY_RATE: Final = 50_000
"""Changes of runs in a second that make an owner busy: some 15,000 runs."""
RATE_SECONDS: Final = 0.1
"""Over how long they are counted."""


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
    """What all that are behind may take together: a twentieth of a busy owner, all of an idle one."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """Let the first one begin at once; `clock` returns seconds that never jump, by default the loop's."""
        self._clock = clock or _loop_time
        self._turn = asyncio.Lock()
        self._ended = self._lasted = self._rate = self._seen_at = 0.0
        self._seen = 0

    @asynccontextmanager
    async def turn(self, noted: Callable[[], int]) -> AsyncIterator[None]:
        """Wait for a turn, and have it; the longer it lasts, the longer others wait for the next one.

        Args:
            noted: How many changes of runs there have been.
        """
        async with self._turn:
            self._look(noted())
            rest = self._lasted * REST * min(1.0, self._rate / BUSY_RATE) ** 2
            await asyncio.sleep(self._ended + rest - self._clock())
            begin = self._clock()
            try:
                yield
            finally:
                self._ended = self._clock()
                self._lasted = self._ended - begin

    def _look(self, noted: int) -> None:
        """Find out how busy the owner is: changes come in commits, so over a while."""
        now = self._clock()
        passed = now - self._seen_at
        if passed > 0:
            rate = (noted - self._seen) / passed
            self._rate += (rate - self._rate) * min(1.0, passed / RATE_SECONDS)
            self._seen_at, self._seen = now, noted


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


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
