"""Calls users' callbacks, in order, on a thread of their own.

The loop's thread is not for them: a callback that waits, for a large result for example, would wait for the
very loop that brings it.
"""

import logging
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger("taskyard.futures")


class _Caller:
    """The thread, started when it is first needed."""

    def __init__(self) -> None:
        self._start = threading.Lock()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, callback: Callable[[], object]) -> None:
        self._calls.put(callback)
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._serve, name="taskyard-callbacks", daemon=True
                    )
                    self._thread.start()

    def _serve(self) -> None:
        while True:
            run(self._calls.get())


_caller = _Caller()


def call_soon(callback: Callable[[], object]) -> None:
    """Call something soon, after everything that came before."""
    _caller.call(callback)


def run(callback: Callable[[], object]) -> None:
    """Call something now; one that raises must not keep others from being called."""
    try:
        callback()
    except Exception:
        logger.exception("a callback of a future raised")


def _after_fork() -> None:
    global _caller
    _caller = _Caller()


os.register_at_fork(after_in_child=_after_fork)
