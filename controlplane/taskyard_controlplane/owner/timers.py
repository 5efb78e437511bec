"""Things to do later: one heap, one timer of the event loop, an injected clock.

Whoever asks for something later gets a `Timer`, which has a name, so that what is pending can be told, and
can be cancelled, so that nothing is kept for a run that has ended or a peer that has gone. A cancelled timer
stays in the heap until its time comes or until such timers are the most of it: taking one out of the middle
of a heap costs a pass over all of it.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from taskyard_contract.clock import Clock

FEW_CANCELLED: Final = 64
"""Cancelled timers that are left in the heap, even if they are most of it: too few to be worth a pass."""


def _nothing() -> None:
    """What a timer does that was cancelled or has fired."""


class Timer:
    """Something that will be done once, unless it is cancelled."""

    __slots__ = ("_timers", "action", "due", "name")

    def __init__(self, timers: "Timers", name: str, action: Callable[[], None], due: float) -> None:
        """Wait in the heap of `timers` until `due`, which is monotonic."""
        self.name = name
        self.due = due
        self.action = action
        self._timers = timers

    @property
    def pending(self) -> bool:
        """Whether it will still be done."""
        return self.action is not _nothing

    def cancel(self) -> None:
        """Never do it. Harmless when it was done or cancelled before."""
        if self.pending:
            # The action is dropped here, with all it refers to, however long the timer stays in the heap.
            self.action = _nothing
            self._timers.note_cancelled()

    def fire_early(self) -> None:
        """Do it now, and not again when its time comes."""
        action = self.action
        self.cancel()
        action()


class Timers:
    """Calls functions when their time has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Use the loop only to be woken; what is due is decided by the clock."""
        self._loop = loop
        self._clock = clock
        # The number makes equal times compare by the order in which they were asked for.
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._handle: asyncio.TimerHandle | None = None
        self._cancelled = 0
        self._stopped = False

    def after(self, seconds: float, action: Callable[[], None], *, name: str) -> Timer:
        """Call `action` once, `seconds` from now; never, after `stop`. The name says for what, to people."""
        due = self._clock.monotonic() + max(0.0, seconds)
        timer = Timer(self, name, action, due)
        if self._stopped:
            timer.action = _nothing
            return timer
        heapq.heappush(self._heap, (due, next(self._order), timer))
        if self._heap[0][0] == due:
            self._arm()
        return timer

    def now(self) -> float:
        """Return the time by which things are due: monotonic seconds."""
        return self._clock.monotonic()

    def pending(self) -> list[str]:
        """Return the names of what will be done, soonest first."""
        return [timer.name for _, _, timer in sorted(self._heap) if timer.pending]

    def note_cancelled(self) -> None:
        """Count a timer that was cancelled, and take all such out once they are most of the heap."""
        self._cancelled += 1
        if self._cancelled > max(FEW_CANCELLED, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def stop(self) -> None:
        """Drop all timers, and those still to come: the loop may outlive what they would act on."""
        self._stopped = True
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()

    def fire(self) -> None:
        """Do what is due. The loop calls it; so do tests that move the clock."""
        self._handle = None
        now = self._clock.monotonic()
        try:
            while self._heap and self._heap[0][0] <= now:
                timer = heapq.heappop(self._heap)[2]
                if not timer.pending:
                    self._cancelled -= 1
                action, timer.action = timer.action, _nothing
                action()
        finally:
            # An action that fails must not take leases and retries with it.
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._clock.monotonic())
            self._handle = self._loop.call_later(delay, self.fire)
