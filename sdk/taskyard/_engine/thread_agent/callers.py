"""Threads that execute the runs which they call themselves, beside the places that a thread agent has."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskyard_contract.programs.uninterrupted import uninterrupted


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

    def got(self) -> None:
        """Note that a caller has what it expected; the link looks at the demand then anyway."""
        with self._lock:
            self.expecting -= 1

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


class Caller:
    """One of them, which is counted right wherever it is interrupted."""

    def __init__(self, callers: Callers) -> None:
        """Describe a caller that has not come yet."""
        self._callers = callers
        self._is_here = self._expects = False

    @uninterrupted
    def expects(self) -> None:
        """Come, if it is not here, and expect an attempt."""
        self._callers.change(0 if self._is_here else 1, expecting=0 if self._expects else 1)
        self._is_here = self._expects = True

    @uninterrupted
    def got(self) -> None:
        """Have what it expected."""
        self._callers.got()
        self._expects = False

    @uninterrupted
    def goes(self) -> None:
        """Go, if it is here."""
        if self._is_here:
            self._callers.change(-1, expecting=-1 if self._expects else 0)
            self._is_here = self._expects = False
