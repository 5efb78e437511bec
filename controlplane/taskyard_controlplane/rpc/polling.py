"""How long the unary calls of agents may wait: the transport's share in polling."""

from typing import Final

LEASE_SHARE: Final = 1 / 3
"""Longest wait as a part of the lease: two polls in a row may get lost before it lapses."""
DEADLINE_SHARE: Final = 0.8
"""Longest wait as a part of what the caller's deadline leaves: the rest is for the way back."""


def longest_wait(asked: float, lease: float, remaining: float | None) -> float:
    """Return how long a call may wait, in seconds.

    Args:
        asked: What the caller asked for.
        lease: The lease that the caller has to renew in time.
        remaining: What its deadline leaves; None without one.
    """
    wait = min(asked, lease * LEASE_SHARE)
    return wait if remaining is None else min(wait, remaining * DEADLINE_SHARE)
