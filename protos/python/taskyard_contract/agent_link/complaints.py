"""When an agent says that it has no connection. Pure.

A server that is started again is back within a second, and one that is not there may be away for days. So
the loss of a stream is said at once, that it lasts after ten seconds and then ever more rarely, and that
it is over once. An agent that has never been connected may have been started together with its server: it
says nothing for two seconds.
"""

from collections.abc import Callable
from typing import Final

PATIENCE_SECONDS: Final = 2.0
"""How long the server of an agent that was just started may take: a yard's needs half a second."""
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 600.0


class Complaints:
    """The silence of one server, from the first failure to the next welcome."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin without a connection; `clock` returns seconds that never jump."""
        self._clock = clock
        self._since: float | None = None
        self._next = 0.0
        self._pause = FIRST_PAUSE
        self._said = False
        self._patience = PATIENCE_SECONDS

    def failed(self) -> float | None:
        """Take in that there is no stream; returns for how many seconds that has been so if it is to be said,
        None otherwise.
        """
        now = self._clock()
        if self._since is None:
            self._since, self._next = now, now + self._patience
        if now < self._next:
            return None
        self._said = True
        self._next, self._pause = now + self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return now - self._since

    def welcomed(self) -> float | None:
        """Take in that there is a stream; returns how many seconds there was none, if that was said."""
        since, said = self._since, self._said
        self._since, self._said, self._pause, self._patience = None, False, FIRST_PAUSE, 0.0
        return self._clock() - since if said and since is not None else None
