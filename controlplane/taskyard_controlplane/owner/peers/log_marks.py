"""Up to which number the log records that each session sent are durable.

Agents and clients number what they send and keep it until it is acknowledged. A server that was killed after
a commit and before its acknowledgement gets the same again, from a session it knows nothing of but this.
"""

from collections.abc import Iterable
from typing import Final

MOST_SESSIONS: Final = 10_000
"""Those that logged last are known; a session that was not among them for long has nothing unacknowledged."""


class LogMarks:
    """The newest marks."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        """Know of no session; keep the newest `most`."""
        self._most = most
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Return how many sessions are known."""
        return len(self._numbers)

    def load(self, marks: Iterable[tuple[bytes, int]]) -> None:
        """Take what was recorded, newest first."""
        for session_id, number in list(marks)[: self._most][::-1]:
            self.note(session_id, number)

    def note(self, session_id: bytes, number: int) -> None:
        """Note that the records of a session are durable up to a number."""
        number = max(number, self._numbers.pop(session_id, 0))
        self._numbers[session_id] = number  # the last one in the order of the dictionary
        if len(self._numbers) > self._most:
            del self._numbers[next(iter(self._numbers))]

    def of(self, session_id: bytes) -> int:
        """Return up to where a session's records are durable; 0 when nothing is known of it."""
        return self._numbers.get(session_id, 0)
