"""The agents of this program's own: one for each session and size, as long as somebody needs it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from taskyard._engine.own_agent.process import OwnAgent
from taskyard._engine.submission.ports import Service
from taskyard._network.session.session import Session
from taskyard.exceptions import TaskyardError

Key = tuple[Session, int, int | None]


class _Used:
    """An agent and how many flow runs use it."""

    def __init__(self, key: Key) -> None:
        session, slots, coroutines = key
        self.queue = f"processes-{session.session_id.hex()}-{next(_numbers)}"
        self.users = 0
        self._session, self._slots = session, slots
        self.agent = OwnAgent(session.locate(), self.queue, self.queue, slots, coroutines, self._fail)

    def _fail(self, how: str, log: str) -> None:
        workers = "1 worker" if self._slots == 1 else f"{self._slots} workers"
        text = f"the process with the {workers} of ProcessPoolTaskRunner {how}; its runs cannot be executed"
        self._session.fail(TaskyardError(text + (f". The end of its log:{log}" if log else "")))


@contextmanager
def serve_by_processes(session: Session, slots: int, coroutines: int | None) -> Iterator[Service]:
    """Have an agent of this program's own while entered; those who want the same at a time share it.

    Args:
        session: Whose runs.
        slots: How many runs are executed at the same time.
        coroutines: How many async tasks are executed beside these, for each slot; None for the default.
    """
    key, process = (session, slots, coroutines), os.getpid()
    with _lock:
        used = _used.get(key)
        if used is None:
            used = _used[key] = _Used(key)
        used.users += 1
    try:
        yield Service(used.queue)
    finally:
        if os.getpid() == process:  # in a child that a flow forked it is the parent's
            _leave(key, used)


def _leave(key: Key, used: _Used) -> None:
    with _lock:
        used.users -= 1
        last = used.users == 0
        if last:
            del _used[key]
    if last:
        used.agent.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _used.clear()


_numbers = count()
_lock = threading.Lock()
_used: dict[Key, _Used] = {}
os.register_at_fork(after_in_child=_after_fork)
