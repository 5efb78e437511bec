"""Which templates a program has sent, on all its streams: it sends their code only once."""

from collections.abc import Iterable
from typing import Final

ALL: Final = 1 << 62
"""As the number of a template: higher than any."""


class SentTemplates:
    """The templates of one session, by number."""

    def __init__(self) -> None:
        """Know nothing of a session, as of one that was found in the database."""
        self._numbers: set[int] = set()
        self.known_from = ALL
        """From this number on it is known of each whether the session has sent it."""

    def opened(self, next_id: int, *, is_new: bool) -> None:
        """Note that a stream begins, when the next template will get this number.

        Args:
            next_id: The number.
            is_new: It is the first one of the session, and there was none with another owner.
        """
        self.known_from = 0 if is_new else min(self.known_from, next_id)

    def add(self, template_ids: Iterable[int]) -> None:
        """Note that some have come."""
        self._numbers.update(template_ids)

    def __contains__(self, template_id: int) -> bool:
        """Whether one is known to have come."""
        return template_id in self._numbers
