"""Slots of limits that all runs share. Not served yet, see `taskyard.concurrency`."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import refuse
from taskyard.concurrency.asyncio import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError

__all__ = [
    "AcquireConcurrencySlotTimeoutError",
    "ConcurrencySlotAcquisitionError",
    "concurrency",
    "rate_limit",
]


def concurrency(
    names: str | list[str],
    occupy: int = 1,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    lease_duration: float = 300,
    strict: bool = False,
) -> AbstractContextManager[None]:
    """Hold slots of some limits in a ``with`` block. Without names there is nothing to hold.

    Args:
        names: The limits.
        occupy: How many slots of each.
        timeout_seconds: Longest time to wait for them; None waits as long as it takes.
        max_retries: How often to ask for them at most.
        lease_duration: For how many seconds they are held without a word.
        strict: Whether a limit that does not exist is an error.

    Raises:
        NotSupported: There are names; the control plane has no such limits yet.
    """
    if names:
        refuse("taskyard.concurrency.sync.concurrency(...)", reasons.LIMITS)
    return nullcontext()


def rate_limit(
    names: str | list[str],
    occupy: int = 1,
    timeout_seconds: float | None = None,
    strict: bool = False,
) -> None:
    """Wait until some limits, whose slots come back with time, have slots.

    Args:
        names: The limits.
        occupy: How many slots of each.
        timeout_seconds: Longest time to wait for them; None waits as long as it takes.
        strict: Whether a limit that does not exist is an error.

    Raises:
        NotSupported: There are names; the control plane has no such limits yet.
    """
    if names:
        refuse("taskyard.concurrency.sync.rate_limit(...)", reasons.LIMITS)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
