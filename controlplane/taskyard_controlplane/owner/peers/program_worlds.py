"""What connected programs hand over for their workers, and nobody may store: values of variables.

Invariant: they are in memory only, as long as the session of their program, or as long as there is room when
runs of it may outlive that. So a server that has just started knows none of them. Runs that need them wait
then (`is_awaited`), until their program is back or must be taken as gone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_controlplane.domain.model import Template

MOST_BYTES: Final = 256 * 1024
"""Of the worlds of one session: the newest are kept."""
MOST_LEFT: Final = 256
"""Worlds of programs that have ended, of which there may be runs."""
MOST_GIVEN_UP: Final = 1_024
"""Worlds that are known not to come; another one is waited for once more."""
WORLD_BYTES: Final = 128
"""What one takes beside its variables, roughly."""

Key = tuple[bytes, int]
"""Id and revision of a world."""
_NOTHING: Final[Mapping[str, str]] = {}


class _World:
    """One that a session has announced."""

    __slots__ = ("bytes", "outlives", "variables")

    def __init__(self, message: pb.ProgramWorld) -> None:
        self.variables = dict(message.variables)
        self.outlives = message.outlives
        self.bytes = WORLD_BYTES + variable_bytes(message.variables)


class ProgramWorlds:
    """The worlds that sessions have announced."""

    def __init__(self) -> None:
        """Know none, as a server that has just started."""
        self._of_session: dict[bytes, dict[Key, _World]] = {}
        self._connected: dict[Key, _World] = {}  # of all sessions
        self._left: dict[Key, _World] = {}  # of ended sessions; the oldest first
        self._awaited: set[Key] = set()
        self._given_up: dict[Key, None] = {}  # the oldest first
        self.on_awaited: Callable[[Key], None] = _ignore
        """Called when runs begin to wait for a program: it should be given up some day."""

    def give_up(self, key: Key) -> None:
        """Await a program no more: it had time enough to come back."""
        if key in self._awaited:
            self._awaited.remove(key)
            self._given_up[key] = None
            if len(self._given_up) > MOST_GIVEN_UP:
                del self._given_up[next(iter(self._given_up))]

    def announce(self, session_id: bytes, worlds: Iterable[pb.ProgramWorld]) -> None:
        """Note worlds of a session; one that is known is replaced."""
        known = self._of_session.setdefault(session_id, {})
        for message in worlds:
            key = (message.id, message.revision)
            known.pop(key, None)
            self._awaited.discard(key)
            self._given_up.pop(key, None)
            known[key] = self._connected[key] = _World(message)
        size = sum(world.bytes for world in known.values())
        while size > MOST_BYTES and len(known) > 1:
            oldest = next(iter(known))
            size -= known.pop(oldest).bytes
            self._forget([oldest])

    def leave(self, session_id: bytes) -> list[bytes]:
        """Forget the worlds of a session that has ended; returns the ids of those that have ended with it."""
        known = self._of_session.pop(session_id, {})
        self._forget(known)
        for key, world in known.items():
            if world.outlives and world.variables:
                self._left.pop(key, None)
                self._left[key] = world
        while len(self._left) > MOST_LEFT:
            del self._left[next(iter(self._left))]
        alive = {world_id for worlds in self._of_session.values() for world_id, _ in worlds}
        return sorted({world_id for world_id, _ in known} - alive)

    def variables_of(self, template: Template) -> Mapping[str, str]:
        """Return the values of the variables that a template's world names, as far as they are known."""
        key = template.need.world
        return _NOTHING if key is None else self._find(key) or _NOTHING

    def is_awaited(self, key: Key | None) -> bool:
        """Whether runs should wait for the program that has the variables of their world."""
        if key is None or key in self._given_up or self._find(key) is not None:
            return False
        if key not in self._awaited:
            self._awaited.add(key)
            self.on_awaited(key)
        return True

    def _forget(self, keys: Iterable[Key]) -> None:
        """Forget worlds of a session, unless another one of the same program has them."""
        for key in keys:
            others = (worlds[key] for worlds in self._of_session.values() if key in worlds)
            other = next(others, None)
            if other is None:
                self._connected.pop(key, None)
            else:
                self._connected[key] = other

    def _find(self, key: Key) -> Mapping[str, str] | None:
        world = self._connected.get(key) or self._left.get(key)
        return None if world is None else world.variables


def _ignore(key: Key) -> None:
    """Leave programs awaited where nobody looks at a clock."""


def variable_bytes(variables: Mapping[str, str]) -> int:
    """Return how many bytes names and values have together."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
