"""The thread agents of this process: one for each session and numbers of places, until the session ends."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from taskyard._engine.submission.ports import LocalExecutor
from taskyard._engine.thread_agent.agent import ThreadAgent
from taskyard._network.session.session import Session


@contextmanager
def serve_locally(session: Session, max_workers: int, coroutines: int) -> Iterator[LocalExecutor]:
    """Serve runs of a session in this process; the server stays for the next flow until the session ends."""
    with _lock:
        if session not in _serving:
            _serving[session] = {}
            session.on_close.append(lambda: _end(session))
        known = _serving[session]
        served = known.get((max_workers, coroutines))
        if served is None:
            served = ThreadAgent(session, max_workers, coroutines, len(known))
            known[max_workers, coroutines] = served
    yield served


def _end(session: Session) -> None:
    for served in _serving.pop(session, {}).values():
        served.close()


def _after_fork() -> None:
    # It may be held by a thread that is not here; and what is served is the parent's.
    global _lock
    _lock = threading.Lock()
    for served in [one for known in _serving.values() for one in known.values()]:
        served.leave_to_parent()


_lock = threading.Lock()
_serving: dict[Session, dict[tuple[int, int], ThreadAgent]] = {}
"""By session and numbers of places, until the session ends. Forked processes have sessions of their own."""
os.register_at_fork(after_in_child=_after_fork)
