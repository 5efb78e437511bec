"""Templates under numbers of the agent's own.

Each stream numbers templates anew, workers outlive streams: so an agent knows a template by what it says and
gives it a number that stays, which is what its workers keep code under.
"""

from itertools import count
from typing import Final

from taskyard_agent.holding.worlds import GivenWorld, Worlds
from taskyard_api.v1 import template_pb2
from taskyard_contract.agent_link.window import CHUNK_SECONDS

UNMEASURED_SECONDS: Final = CHUNK_SECONDS / 16
"""What a run is taken for whose like has not ended here: some of them go out together, and not very many."""
LEAST_SECONDS: Final = 1e-6
"""Added to each duration, so that nothing takes no time at all."""
MEMORY_QUICKER: Final = 4
MEMORY_SLOWER: Final = 16
"""Runs after which the next ones count as much as all that came before. Few for quicker ones: first runs are
slow, they import things."""
MAX_TEMPLATES: Final = 256
"""Kept at most, here and in each worker: code of yesterday's scripts must not pile up."""


class LocalTemplate:
    """A template, encoded once for all workers."""

    __slots__ = (
        "alone",
        "bundle",
        "coroutine",
        "definition",
        "digest",
        "encoded",
        "heartbeat_timeout",
        "index",
        "seconds",
        "timeout",
        "world",
    )

    def __init__(
        self, index: int, definition: template_pb2.TemplateDefinition, world: GivenWorld | None = None
    ) -> None:
        """Take over a definition; `index` is what workers call it, `world` that of its program."""
        self.index = index
        self.definition = definition
        self.encoded = definition.SerializeToString()
        self.seconds = UNMEASURED_SECONDS
        """How long one of its runs takes, of late."""
        self.timeout = definition.template.timeout_ms / 1000
        self.heartbeat_timeout = definition.template.heartbeat_timeout_ms / 1000
        self.digest = definition.template.code.blob_digest
        self.coroutine = definition.template.coroutine
        """Whether its runs can share a process."""
        self.alone = False
        """Whether each has to have one for itself all the same: one of them was no good company."""
        self.world = world
        self.bundle = world.bundle if world is not None else b""
        """What has to be unpacked before its runs can start."""

    @property
    def most_at_once(self) -> int:
        """How many of its runs a worker gets at a time: what a moment is enough for."""
        return max(1, int(CHUNK_SECONDS / self.seconds))

    def took(self, runs: int, busy_seconds: float) -> None:
        """Take in how long some of its runs took together."""
        each = busy_seconds / runs + LEAST_SECONDS
        if self.seconds == UNMEASURED_SECONDS:
            self.seconds = each
        else:
            memory = MEMORY_QUICKER if each < self.seconds else MEMORY_SLOWER
            self.seconds += (each - self.seconds) * runs / (runs + memory)


class LocalTemplates:
    """The agent's views of the templates it has met of late, each made once."""

    def __init__(self, worlds: Worlds | None = None) -> None:
        """Number from 1; workers forget with `MAX_TEMPLATES` of their own, so numbers are never reused.

        Args:
            worlds: Knows the worlds of programs; None where nothing is executed in one.
        """
        self._worlds = worlds
        self._known: dict[tuple[bytes, frozenset[tuple[str, str]]], LocalTemplate] = {}
        """By what they say, and what was handed over for them; the least recently used one first."""
        self._last: LocalTemplate | None = None
        self._indices = count(1)

    def __len__(self) -> int:
        """Return how many are kept: `MAX_TEMPLATES` at most."""
        return len(self._known)

    def of(self, definition: template_pb2.TemplateDefinition) -> LocalTemplate:
        """Return the agent's own view of a template."""
        # Chunk after chunk is of one template; serialising it each time would cost more than all the rest.
        last = self._last
        if last is not None and last.definition is definition:
            return last
        key = (
            definition.template.SerializeToString(deterministic=True),
            frozenset(definition.variables.items()),
        )
        known = self._known.pop(key, None)
        if known is None:
            world = self._worlds.of(definition.template) if self._worlds is not None else None
            known = LocalTemplate(next(self._indices), definition, world)
            if len(self._known) >= MAX_TEMPLATES:
                del self._known[next(iter(self._known))]
        self._known[key] = self._last = known
        return known
