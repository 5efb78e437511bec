"""How long an attempt in a thread may take, and for how long it may say nothing of its progress.

One timer for both: it looks again when the first of the two may have passed. Waiting for other runs is no
silence, and its end counts as a word, as in the workers of an agent. Nothing here is made for runs that have
no limit.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskyard_api.v1 import template_pb2


class TimeLimits:
    """The limits of one attempt, from its start on. Thread-safe."""

    def __init__(
        self,
        seconds: float,
        silence: float,
        interrupt: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        timer: Callable[[float, Callable[[], None]], threading.Timer] = threading.Timer,
    ) -> None:
        """Prepare limits; `start` has to follow, and then `stop`.

        Args:
            seconds: How long the attempt may take; 0 for any time.
            silence: For how long it may say nothing; 0 for any time.
            interrupt: Ends it. Called at most once.
            clock: Returns seconds that never jump.
            timer: Makes what calls something after a while, once it is started.
        """
        self._seconds = seconds
        self._silence = silence
        self._interrupt = interrupt
        self._clock = clock
        self._make_timer = timer
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._began = self._heard = clock()
        self._waiting = 0
        self._over = False
        self.passed = ""
        """Which limit has passed, for people."""

    def start(self) -> None:
        """Begin to look."""
        with self._lock:
            self._look_later()

    def heard(self) -> None:
        """Take in a word of progress."""
        self._heard = self._clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Take in that the attempt waits for other runs meanwhile."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                self._heard = self._clock()

    def look(self) -> None:
        """End the attempt if a limit has passed; look again later if not."""
        with self._lock:
            if self._over:
                return
            self.passed = self._passed()
            if not self.passed:
                self._look_later()
                return
            self._over = True
        self._interrupt()

    def check(self) -> str:
        """Return which limit has passed, for people; for those who look themselves, and start nothing."""
        self.passed = self._passed()
        return self.passed

    def stop(self) -> None:
        """Look no more: the attempt has ended."""
        with self._lock:
            self._over = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _passed(self) -> str:
        now = self._clock()
        if self._seconds and now - self._began >= self._seconds:
            return f"the attempt exceeded its timeout of {self._seconds:g} seconds and was ended"
        if self._silence and not self._waiting and now - self._heard >= self._silence:
            return f"the attempt said nothing of its progress for {self._silence:g} seconds and was ended"
        return ""

    def _look_later(self) -> None:
        now, due = self._clock(), []
        if self._seconds:
            due.append(self._began + self._seconds)
        if self._silence:
            due.append((now if self._waiting else self._heard) + self._silence)
        if due:
            self._timer = timer = self._make_timer(max(0.0, min(due) - now), self.look)
            timer.daemon = True
            timer.start()


def limits_of(
    template: template_pb2.RunTemplate, interrupt: Callable[[], None] = lambda: None
) -> TimeLimits | None:
    """Return the limits of an attempt, which `interrupt` ends; None if it has none."""
    if not (template.timeout_ms or template.heartbeat_timeout_ms):
        return None
    return TimeLimits(template.timeout_ms / 1000, template.heartbeat_timeout_ms / 1000, interrupt)
