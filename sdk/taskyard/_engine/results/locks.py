"""Locks of the keys of a store of results, kept by its lock manager.

Invariant: a store without a lock manager says so before anybody relies on a lock.
"""

import os
import socket
import threading
from typing import TYPE_CHECKING

from taskyard._data.runs.transactions import IsolationLevel
from taskyard.exceptions import ConfigurationError

if TYPE_CHECKING:
    from taskyard.locking.protocol import LockManager


def default_holder() -> str:
    """Name the thread that asks: its machine, its process and itself."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"


class KeyLocks:
    """What a store of results can do with locks. A holder that is left out is the calling thread."""

    lock_manager: "LockManager | None" = None

    @staticmethod
    def generate_default_holder() -> str:
        """Return who holds a lock that is taken without saying for whom: this thread."""
        return default_holder()

    def supports_isolation_level(self, level: IsolationLevel | str) -> bool:
        """Say whether transactions with this store can have an isolation level.

        Raises:
            ValueError: There is no such level.
        """
        return IsolationLevel(level) is IsolationLevel.READ_COMMITTED or self.lock_manager is not None

    def acquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Take the lock of a key; says whether that was possible.

        Args:
            key: The key.
            holder: Who holds it and has to release it.
            timeout: Longest time to wait for it, in seconds; None waits for ever.

        Raises:
            ConfigurationError: The store has no lock manager.
        """
        return self._locks().acquire_lock(key, holder or default_holder(), timeout)

    async def aacquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Take the lock of a key without blocking the event loop, like `acquire_lock`."""
        return await self._locks().aacquire_lock(key, holder or default_holder(), timeout)

    def release_lock(self, key: str, holder: str | None = None) -> None:
        """Let others have the lock of a key.

        Raises:
            ConfigurationError: The store has no lock manager.
            ValueError: The lock is not held by `holder`.
        """
        self._locks().release_lock(key, holder or default_holder())

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds the lock of a key."""
        return self._locks().is_locked(key)

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        """Say whether `holder` holds it."""
        return self._locks().is_lock_holder(key, holder or default_holder())

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock; says whether that was within `timeout` seconds."""
        return self._locks().wait_for_lock(key, timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait without blocking the event loop, like `wait_for_lock`."""
        return await self._locks().await_for_lock(key, timeout)

    def _locks(self) -> "LockManager":
        if self.lock_manager is None:
            raise ConfigurationError(
                "this store of results has no lock manager; make it with"
                " ResultStore(lock_manager=FileSystemLockManager(...)), see taskyard.locking"
            )
        return self.lock_manager
