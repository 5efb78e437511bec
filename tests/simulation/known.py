"""What is known not to hold yet. Whoever mends something takes it out; with the last one this file goes."""

from typing import Final

PLANS: Final[frozenset[str]] = frozenset({"lost-code", "no-room-for-code"})
"""Plans that fail."""
RULES: Final[frozenset[str]] = frozenset({"spin"})
"""Rules that these faults break: seeds that break only them are not counted, unless that is asked for."""
