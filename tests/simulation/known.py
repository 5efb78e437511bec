"""What is known not to hold yet: nothing at present.

Whoever finds something that cannot be mended at once puts it here, and whoever mends it takes it out.
"""

from typing import Final

PLANS: Final[frozenset[str]] = frozenset()
"""Plans that fail."""
RULES: Final[frozenset[str]] = frozenset()
"""Rules that these faults break: seeds that break only them are not counted, unless that is asked for."""
