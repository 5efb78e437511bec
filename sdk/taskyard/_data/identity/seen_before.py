"""What is said once."""

from collections.abc import Hashable
from typing import Final

_MOST: Final = 1000


class SeenBefore:
    """Remembers what there was, the latest thousand of it: a process may live for months."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self._seen: dict[Hashable, None] = {}

    def before(self, one: Hashable) -> bool:
        """Say whether this was asked before."""
        if one in self._seen:
            return True
        if len(self._seen) >= _MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[one] = None
        return False
