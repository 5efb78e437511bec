"""When a program should hear why it waits. A machine without clock, network or log.

It is asked twice a second (`look`), which costs nothing while nobody waits. Quiet is when somebody waits and
nothing that was submitted has ended; any outcome, and any moment in which nobody waits, begins it anew. After
`QUIET_SECONDS` of it the server is asked about some of the runs that are waited for, and again after pauses
that grow, for as long as it goes on. What was said is not said again for `REPEAT_SECONDS`, unless the reason
is another one; and it is forgotten when nobody has waited for a while: the next wait is a new one.
"""

from collections.abc import Hashable
from typing import Final

from taskyard._data.values.waits import WAITS

LOOK_SECONDS: Final = 0.5
"""How late it may be noticed that it has been quiet for long enough."""
QUIET_SECONDS: Final = 2.0
"""Below, people do not begin to wonder."""
LONGEST_PAUSE: Final = 15.0
"""How late another reason may be noticed, for the sake of servers that many programs wait for."""
REPEAT_SECONDS: Final = 60.0
"""How often people are reminded."""
FORGET_SECONDS: Final = 10.0
"""How long nobody has to have waited for what was said to be forgotten."""
MOST_ASKED: Final = 20
"""Runs that one question is about: enough to see what thousands have in common."""

Waiting = dict[bytes, object]
"""Runs that are waited for, by id, each with the context of the code that does."""


class WaitWatch:
    """Decides when to ask why runs wait, about which, and what is news."""

    def __init__(self) -> None:
        """Begin while nobody waits."""
        self._news = 0
        self._quiet_since: float | None = None
        self._ask_at = 0.0
        self._pause = QUIET_SECONDS
        self._said: dict[Hashable, float] = {}
        self._waited_at = 0.0

    def look(self, now: float, news: int) -> bool:
        """Say whether it is time to ask.

        Args:
            now: Seconds that never jump.
            news: A number that is another one when runs have ended since the last look.
        """
        if not WAITS:
            self._quiet_since = None
            if self._said and now - self._waited_at >= FORGET_SECONDS:
                self._said.clear()
            return False
        self._waited_at = now
        if self._quiet_since is None or news != self._news:
            self._quiet_since, self._news = now, news
            self._ask_at, self._pause = now + QUIET_SECONDS, QUIET_SECONDS
        return now >= self._ask_at

    def asked(self, now: float) -> None:
        """Note that the server is asked now."""
        self._ask_at = now + self._pause
        self._pause = min(LONGEST_PAUSE, self._pause * 1.5)

    def still_quiet(self, news: int) -> bool:
        """Whether an answer is still of interest: nothing has ended since the question."""
        return news == self._news and bool(WAITS)

    def disturbed(self) -> None:
        """Begin anew: there was no connection, and whoever keeps it has said so."""
        self._quiet_since = None

    def is_news(self, key: Hashable, now: float, is_said: bool = False) -> bool:
        """Say whether a reason should be told now; it is noted that it is, or was by others (`is_said`)."""
        said_at = self._said.get(key)
        if said_at is not None and now - said_at < REPEAT_SECONDS:
            return False
        self._said = {each: at for each, at in self._said.items() if now - at < REPEAT_SECONDS}
        self._said[key] = now
        # What others say is said anew whenever it begins anew: what was noted long ago is not this one.
        return not is_said or (said_at is not None and now - said_at < 2 * REPEAT_SECONDS)


def sample(waiting: Waiting) -> list[bytes]:
    """Return some of the runs, spread evenly, the first of them included."""
    run_ids = list(waiting)
    if len(run_ids) <= MOST_ASKED:
        return run_ids
    return [run_ids[position * len(run_ids) // MOST_ASKED] for position in range(MOST_ASKED)]
