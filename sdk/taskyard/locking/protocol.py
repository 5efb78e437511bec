"""What a lock manager has to do. Any object with these methods is one.

Invariant: a key is held by one holder at a time; a holder that asks again for what it holds gets it.
"""

from typing import Protocol, runtime_checkable

__all__ = ["LockManager"]


@runtime_checkable
class LockManager(Protocol):
    """Keeps locks by keys. Those with an ``a`` in front do the same without blocking the event loop."""

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
        ...

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock of a key, like `acquire_lock`."""
        ...

    def release_lock(self, key: str, holder: str) -> None:
        """Let others have it.

        Raises:
            ValueError: `holder` does not hold it.
        """
        ...

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds it."""
        ...

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Say whether `holder` holds it."""
        ...

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds it; says whether that was within `timeout` seconds."""
        ...

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds it, like `wait_for_lock`."""
        ...
