"""What is known not to hold yet.

Whoever finds something that cannot be mended at once puts it here, and whoever mends it takes it out.
"""

from typing import Final

PLANS: Final[frozenset[str]] = frozenset()
"""Plans that fail, and are not drawn."""
RULES: Final[frozenset[str]] = frozenset()
"""Rules that these faults break: seeds that break only them are not counted, unless that is asked for."""
