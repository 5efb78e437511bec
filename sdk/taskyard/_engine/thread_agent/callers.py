"""Threads that execute the runs which they call themselves, beside the places that a thread agent has."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Callers:
    """How many there are, and how many of them have nothing to execute yet. Thread-safe."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Begin with none; `wake` is called when there is another number of them."""
        self._wake = wake
        self._lock = threading.Lock()
        self.calling = self.iterating = 0
        self.expecting = 0
        """How many have no attempt to execute yet."""

    def change(self, by: int, expecting: int = 0) -> None:
        """Count callers that come, or go."""
        with self._lock:
            self.calling += by
            self.expecting += expecting
        self._wake()

    def got(self, by: int = 1) -> None:
        """Note that a caller has what it expected; the link looks at the demand then anyway."""
        with self._lock:
            self.expecting -= by

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Take no room while a generator is executed: it is suspended for as long as its caller likes."""
        with self._lock:
            self.iterating += 1
        try:
            yield
        finally:
            with self._lock:
                self.iterating -= 1
            self._wake()
