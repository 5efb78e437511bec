"""Calls users' callbacks, in order, on a thread of their own.

The loop's thread is not for them: a callback that waits, for a large result for example, would wait for the
very loop that brings it. Invariant: what was to be called is called before the program ends, unless it takes
longer than `LAST_SECONDS`.
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from taskyard._data.values.awaited import run
from taskyard._network.server.loop_thread import at_exit

LAST_SECONDS: Final = 10.0
"""How long the end of the program is put off for callbacks that are still to be called."""


class _Caller:
    """The thread, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._finished = False

    def call(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if not self._finished:
                self._calls.put(callback)
                if self._thread is None:
                    self._start()
                return
        run(callback)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="taskyard-callbacks", daemon=True)
        self._thread.start()
        at_exit(self._finish)

    def _serve(self) -> None:
        while (callback := self._calls.get()) is not None:
            run(callback)

    def _finish(self) -> None:
        with self._lock:
            self._finished = True
            self._calls.put(None)
            thread = self._thread
        if thread is not None:
            thread.join(LAST_SECONDS)


_caller = _Caller()


def call_soon(callback: Callable[[], object]) -> None:
    """Call something soon, after everything that came before."""
    _caller.call(callback)


def _after_fork() -> None:
    global _caller
    _caller = _Caller()


os.register_at_fork(after_in_child=_after_fork)
