"""Things to do later: one heap, one timer of the event loop, an injected clock."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from taskyard_contract.clock import Clock


class Timers:
    """Calls functions when their time has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Use the loop only to be woken; what is due is decided by the clock."""
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = False

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` once, `seconds` from now; never, after `stop`."""
        if self._stopped:
            return
        due = self._clock.monotonic() + max(0.0, seconds)
        heapq.heappush(self._heap, (due, next(self._order), action))
        if self._heap[0][0] == due:
            self._arm()

    def stop(self) -> None:
        """Forget everything, for good."""
        self._stopped = True
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._clock.monotonic())
            self._handle = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._clock.monotonic()
        try:
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()
        finally:
            # An action that fails must not take leases and retries with it.
            self._arm()
