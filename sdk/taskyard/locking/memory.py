"""Locks in the memory of this process, for its threads and coroutines.

Invariant: all managers of a process know the same locks, so two stores that each made one exclude each other.
"""

import os
import threading
import time
from typing import Any, Final

from taskyard.locking._polled import PolledLocks, not_held

__all__ = ["MemoryLockManager"]

_locks: Final[dict[str, tuple[str, float]]] = {}
"""Holders by keys, and when their time is over, by the clock of this process."""
_guard = threading.Lock()


class MemoryLockManager(PolledLocks):
    """Keeps locks in memory: for programs of one process. Other processes do not see them."""

    def _try(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        with _guard:
            found = _holder(key)
            if found is None:
                expires = float("inf") if hold_timeout is None else time.monotonic() + hold_timeout
                _locks[key] = holder, expires
            return found in (None, holder)

    def release_lock(self, key: str, holder: str) -> None:
        """Let others have the lock of a key.

        Raises:
            ValueError: `holder` does not hold it.
        """
        with _guard:
            if _holder(key) != holder:
                raise not_held(key, holder)
            del _locks[key]

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds the lock of a key."""
        with _guard:
            return _holder(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Say whether `holder` holds it."""
        with _guard:
            return _holder(key) == holder

    def __eq__(self, other: object) -> bool:
        """All of them are the same."""
        return isinstance(other, MemoryLockManager)

    def __hash__(self) -> int:
        return hash(MemoryLockManager)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def _holder(key: str) -> str | None:
    found = _locks.get(key)
    if found is None:
        return None
    if found[1] <= time.monotonic():
        del _locks[key]
        return None
    return found[0]


def _after_fork() -> None:
    """Begin without locks: their holders are in the other process."""
    global _guard
    _guard = threading.Lock()
    _locks.clear()


os.register_at_fork(after_in_child=_after_fork)
