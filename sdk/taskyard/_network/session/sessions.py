"""The sessions of this process, one for each server that it calls."""

import os
import threading

from taskyard import settings
from taskyard._network.server.locating import locator
from taskyard._network.session.session import Session

_sessions: dict[str, Session] = {}
_lock = threading.Lock()


def current_session(caller_run_id: bytes = b"") -> Session:
    """Return this process's session with the server that TASKYARD_SERVER names, connected."""
    address = settings.server()
    session = _sessions.get(address)
    if session is None or session.failed:
        with _lock:
            session = _sessions.get(address)
            if session is None or session.failed:
                session = _sessions[address] = Session(locator(address), caller_run_id)
    return session.open()


def session_of_flow_run(flow_run_id: bytes) -> Session:
    """Return a session in the name of a flow run whose own session another process has, connected.

    It is nobody else's: whoever asks for it closes it.
    """
    return Session(locator(settings.server()), flow_run_id).open()


def close_session(address: str) -> None:
    """End the one with the server at an address, if there is one."""
    with _lock:
        session = _sessions.pop(address, None)
    if session is not None:
        session.close()


def close_sessions() -> None:
    """End all of them; the next call opens another one."""
    with _lock:
        sessions = list(_sessions.values())
        _sessions.clear()
    for session in sessions:
        session.close()


def _after_fork() -> None:
    # Those of the parent are the parent's, and its lock may be held by a thread that is not here.
    global _lock
    _lock = threading.Lock()
    _sessions.clear()


os.register_at_fork(after_in_child=_after_fork)
