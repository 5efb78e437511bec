"""Protocol versions. Pure.

The protocol is an integer that grows by one when a peer must understand something new; the version of
the distribution says nothing about it.
"""

from typing import Final

PROTOCOL_MIN: Final = 2
"""The oldest version that this distribution still speaks."""
PROTOCOL_MAX: Final = 2
"""The newest one; grows with what a peer must understand, and with nothing else."""
VERSION: Final = "0.1.0"


def negotiate(peer_min: int, peer_max: int) -> int | None:
    """Return the highest protocol version both sides speak, or None."""
    best = min(peer_max, PROTOCOL_MAX)
    return best if best >= max(peer_min, PROTOCOL_MIN) else None
