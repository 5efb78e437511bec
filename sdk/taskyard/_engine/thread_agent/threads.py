"""The threads that execute attempts, and the attempts that wait for one.

A place is not a thread: an attempt that waits for other runs gives its place away, so that these
can be executed in the meantime, and there are as many threads as attempts that have begun. When it goes on
there may be more attempts at work than places for a while; nothing is interrupted for that.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Protocol

MOST_THREADS: Final = 1000
"""A thread that waits for other runs takes no place, so there may be many more threads than places."""


class Work(Protocol):
    """What waits for a place, and is then executed by a thread of its own."""

    def execute(self) -> None:
        """Execute it in this thread; never raises, because nobody would hear of it."""
        ...


class AttemptThreads:
    """So many places for work. Thread-safe."""

    def __init__(self, places: int, on_change: Callable[[], None]) -> None:
        """Offer places; `on_change` is called when work begins or ceases to wait for other runs."""
        self.places = places
        self._on_change = on_change
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._working = 0
        self._blocked = 0
        self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="taskyard-run")

    def add(self, work: Work, *, first: bool) -> None:
        """Let work wait for a place, before everything else or behind it; `start` has to follow."""
        (self._waiting.appendleft if first else self._waiting.append)(work)

    def start(self) -> None:
        """Give waiting work to threads, as far as there are places."""
        while True:
            with self._lock:
                if not self._waiting or self._working - self._blocked >= self.places:
                    return
                work = self._waiting.popleft()
                self._working += 1
            self._pool.submit(self._work, work)

    def take_back(self, work: Work) -> bool:
        """Take back work that waits; says whether it still did."""
        with self._lock:
            waits = work in self._waiting
            if waits:
                self._waiting.remove(work)
        return waits

    @property
    def blocked_now(self) -> int:
        """How much of the work waits for other runs."""
        return self._blocked

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Give this thread's place away meanwhile: what is waited for may need it."""
        self._change_blocked(1)
        try:
            yield
        finally:
            self._change_blocked(-1)

    def close(self, *, wait: bool = False) -> None:
        """Begin nothing any more; what is being executed is waited for if that is wanted."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _change_blocked(self, by: int) -> None:
        with self._lock:
            self._blocked += by
        self.start()
        self._on_change()

    def _work(self, work: Work) -> None:
        try:
            work.execute()
        finally:
            with self._lock:
                self._working -= 1
            self.start()
