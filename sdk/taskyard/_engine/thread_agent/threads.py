"""The threads that execute attempts, and the attempts that wait for one.

A place is not a thread: an attempt that waits for other runs gives its place away, so that these
can be executed in the meantime, and there are as many threads as attempts that have begun. When it goes on
there may be more attempts at work than places for a while; nothing is interrupted for that.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final, Protocol

from taskyard._engine.execution.coroutines import close_runner

MOST_THREADS: Final = 1000
"""A thread that waits for other runs takes no place, so there may be many more threads than places."""


_END_SECONDS: Final = 0.1
"""What threads without work take to end, and longer than those with work are waited for."""


class Work(Protocol):
    """What waits for a place, and is then executed by a thread of its own."""

    def execute(self) -> None:
        """Execute it in this thread; never raises, because nobody would hear of it."""
        ...

    def refuse(self, why: RuntimeError) -> None:
        """Say that there is no thread for it."""
        ...


class AttemptThreads:
    """So many places for work. Thread-safe.

    Not a pool of Python's own: those take nothing any more once the main thread has ended, and threads of the
    program that go on until later may call flows until then.
    """

    def __init__(self, places: int, on_change: Callable[[], None]) -> None:
        """Offer places; `on_change` is called when work begins or ceases to wait for other runs."""
        self.places = places
        self._on_change = on_change
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._working = 0
        self._blocked = 0
        self._idle = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._handed: SimpleQueue[Work | None] = SimpleQueue()
        """Work for threads that have none; None ends one."""

    def add(self, work: Work, *, first: bool) -> None:
        """Let work wait for a place, before everything else or behind it; `start` has to follow."""
        (self._waiting.appendleft if first else self._waiting.append)(work)

    def start(self) -> None:
        """Give waiting work to threads, as far as there are places."""
        while True:
            with self._lock:
                if not self._has_room():
                    return
                work = self._waiting.popleft()
                self._working += 1
                has_idle = self._idle > 0
                if has_idle:
                    self._idle -= 1
            if has_idle:
                self._handed.put(work)
            else:
                self._begin(work)

    def _has_room(self) -> bool:
        if self._closed or not self._waiting or self._working - self._blocked >= self.places:
            return False
        return self._idle > 0 or len(self._threads) < MOST_THREADS

    def _begin(self, work: Work) -> None:
        thread = threading.Thread(target=self._serve, args=(work,), name="taskyard-run", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is ending, or the machine has no more
            with self._lock:
                self._working -= 1
            work.refuse(error)
        else:
            self._threads.append(thread)

    def _serve(self, first: Work) -> None:
        work: Work | None = first
        while work is not None:
            self._work(work)
            work = self._handed.get()
        close_runner()

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
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._handed.put(None)
        deadline = None if wait else time.monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

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
                self._idle += 1
            self.start()
