"""What is known not to hold yet.

Whoever finds something that cannot be mended at once puts it here, and whoever mends it takes it out.
"""

from typing import Final

PLANS: Final[frozenset[str]] = frozenset({"leader-kept-out"})
"""Plans that fail. No plan is drawn in which that could happen: cache keys come with the usual ceiling of
waiting runs."""
RULES: Final[frozenset[str]] = frozenset()
"""Rules that these faults break: seeds that break only them are not counted, unless that is asked for."""
