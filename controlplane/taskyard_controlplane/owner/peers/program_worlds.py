"""What connected programs hand over for their workers, and nobody may store: values of variables.

Invariant: they are in memory only, as long as the session of their program, or as long as there is room when
runs of it may outlive that. So a server that has just started knows none of them. Runs that need them wait
then (`is_awaited`), until their program is back or must be taken as gone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Overloaded
from taskyard_controlplane.domain.model import Template

MOST_BYTES: Final = 256 * 1024
"""Of the worlds of one session: the newest are kept."""
MOST_BYTES_IN_ALL: Final = 32 * 1024 * 1024
"""Of all sessions: thousands of them with a few variables each."""
RETRY_SECONDS: Final = 5.0
"""When to come back."""
MOST_LEFT: Final = 256
"""Worlds of programs that have ended, of which there may be runs."""
MOST_GIVEN_UP: Final = 1_024
"""Worlds that are known not to come; another one is waited for once more."""
WORLD_BYTES: Final = 512
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

    def __init__(self, most_bytes: int = MOST_BYTES_IN_ALL) -> None:
        """Know none, as a server that has just started; keep up to `most_bytes` of all sessions."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._of_session: dict[bytes, dict[Key, _World]] = {}  # the oldest first
        self._connected: dict[Key, dict[bytes, _World]] = {}  # by session
        self._sessions_of: Counter[bytes] = Counter()  # by id, once for each revision
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

    def announce(self, session_id: bytes, worlds: Iterable[pb.ProgramWorld]) -> bool:
        """Note worlds of a session; one that is known is replaced, and the session's oldest make room.

        Returns:
            Whether runs have waited for one of them.

        Raises:
            Overloaded: There is too much of all sessions together.
        """
        known = self._of_session.setdefault(session_id, {})
        waiting = len(self._awaited)
        for message in worlds:
            key = (message.id, message.revision)
            self._remove(session_id, key)
            self._add(session_id, key, _World(message))
            self._awaited.discard(key)
            self._given_up.pop(key, None)
        size = sum(world.bytes for world in known.values())
        while known and (self._bytes > self._most_bytes or (size > MOST_BYTES and len(known) > 1)):
            oldest = next(iter(known))
            size -= known[oldest].bytes
            self._remove(session_id, oldest)
        if not known:
            text = f"{self._most_bytes:,} bytes of what programs hand over are kept, and there are as many"
            raise Overloaded(f"{text}; try again later", limit=self._most_bytes, retry_after=RETRY_SECONDS)
        return len(self._awaited) < waiting

    def _add(self, session_id: bytes, key: Key, world: _World) -> None:
        self._of_session[session_id][key] = world
        self._connected.setdefault(key, {})[session_id] = world
        self._sessions_of[key[0]] += 1
        self._bytes += world.bytes

    def _remove(self, session_id: bytes, key: Key) -> None:
        world = self._of_session[session_id].pop(key, None)
        if world is None:
            return
        del self._connected[key][session_id]
        if not self._connected[key]:
            del self._connected[key]
        self._sessions_of[key[0]] -= 1
        if not self._sessions_of[key[0]]:
            del self._sessions_of[key[0]]
        self._bytes -= world.bytes

    def leave(self, session_id: bytes) -> list[bytes]:
        """Forget the worlds of a session that has ended; returns the ids of those that have ended with it."""
        known = dict(self._of_session.get(session_id, {}))
        for key, world in known.items():
            self._remove(session_id, key)
            if world.outlives and world.variables:
                self._left.pop(key, None)
                self._left[key] = world
        while len(self._left) > MOST_LEFT:
            del self._left[next(iter(self._left))]
        self._of_session.pop(session_id, None)
        return sorted({world_id for world_id, _ in known if world_id not in self._sessions_of})

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

    def _find(self, key: Key) -> Mapping[str, str] | None:
        connected = self._connected.get(key)
        world = next(iter(connected.values())) if connected else self._left.get(key)
        return None if world is None else world.variables


def _ignore(key: Key) -> None:
    """Leave programs awaited where nobody looks at a clock."""


def variable_bytes(variables: Mapping[str, str]) -> int:
    """Return how many bytes names and values have together."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
