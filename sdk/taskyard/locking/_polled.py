"""What lock managers have in common that look again and again whether a lock is free.

Invariant: whoever waits holds no thread in the event loop's pool and no lock of this process, so any number
may wait.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Final

LOOK_SECONDS: Final = 0.02
"""Between two looks at a lock that somebody else holds."""


class PolledLocks(ABC):
    """Waiting, in threads and in event loops, over one try that does not wait."""

    @abstractmethod
    def _try(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        """Take a lock if it is free, or held by the same holder."""

    @abstractmethod
    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds the lock of a key."""

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock of a key; says whether that was possible.

        Args:
            key: What is to be locked.
            holder: Who holds it, and has to release it.
            acquire_timeout: Longest time to wait for it, in seconds; 0 tries once, None waits for ever.
            hold_timeout: After how many seconds it is free again by itself; None: never.
        """
        until = _until(acquire_timeout)
        while not self._try(key, holder, hold_timeout):
            if not _wait(until):
                return False
        return True

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock of a key without blocking the event loop, like `acquire_lock`."""
        until = _until(acquire_timeout)
        while not self._try(key, holder, hold_timeout):
            if not await _await(until):
                return False
        return True

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock; says whether that was within `timeout` seconds."""
        until = _until(timeout)
        while self.is_locked(key):
            if not _wait(until):
                return False
        return True

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait without blocking the event loop, like `wait_for_lock`."""
        until = _until(timeout)
        while self.is_locked(key):
            if not await _await(until):
                return False
        return True


def _until(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(until: float | None) -> float:
    return LOOK_SECONDS if until is None else min(LOOK_SECONDS, until - time.monotonic())


def _wait(until: float | None) -> bool:
    """Wait for the next look; says whether there is time for one."""
    left = _left(until)
    if left <= 0:
        return False
    time.sleep(left)
    return True


async def _await(until: float | None) -> bool:
    left = _left(until)
    if left <= 0:
        return False
    await asyncio.sleep(left)
    return True


def not_held(key: str, holder: str) -> ValueError:
    """Say that somebody releases what is not theirs."""
    return ValueError(
        f"the lock of '{key}' is not held by '{holder}', so it cannot release it: it was released before, its"
        " hold_timeout is over, or somebody else holds it"
    )
