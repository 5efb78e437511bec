"""Which attempts in threads are said to have begun: those that go on for longer than a moment.

Of all others the report says when they began, so nothing is done for them but to look, a few times a second
and at all together. Everything here runs on the loop's thread.
"""

from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.clock import wall_us

MOMENT_US: Final = 100_000
"""Those that are over sooner are not said to have begun."""
LOOK_SECONDS: Final = 0.1


class Beginning(Protocol):
    """An attempt, as far as its beginning is concerned."""

    key: pb.RunKey
    began_us: int
    """When its code began, in microseconds since 1970; 0 before that."""


class Beginnings:
    """Tells of each attempt in hand once that it is being executed."""

    def __init__(self, attempts: Mapping[bytes, Beginning], say: Callable[[pb.RunKey, float], None]) -> None:
        """Look at attempts, by their runs, and `say` of each for how many seconds it has been executed."""
        self._attempts = attempts
        self._say = say
        self._said: dict[bytes, int] = {}
        self._timer: TimerHandle | None = None

    def watch(self) -> None:
        """Look from now on, for as long as there are attempts."""
        if self._timer is None and self._attempts:
            self._timer = get_running_loop().call_later(LOOK_SECONDS, self._look)

    def restate(self) -> None:
        """Say all of it again: the server may not know it any more."""
        self._said.clear()

    def look(self, now_us: int) -> None:
        """Say of what has begun a moment ago that it has."""
        said, self._said = self._said, {}
        for run_id, attempt in self._attempts.items():
            if not attempt.began_us or now_us - attempt.began_us < MOMENT_US:
                continue
            if said.get(run_id) != attempt.key.epoch:
                self._say(attempt.key, (now_us - attempt.began_us) / 1e6)
            self._said[run_id] = attempt.key.epoch

    def _look(self) -> None:
        self._timer = None
        self.look(wall_us())
        self.watch()
