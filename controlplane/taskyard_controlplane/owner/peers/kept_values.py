"""Which agents have which large values in directories of their own.

Agents that see the directory of the store have everything in it, all of them alike. Others keep files: what
their runs returned, and what they fetched for their runs. Nobody tells this server of them; it knows who has
made a value, because it was reported, and who was sent runs that read it. Agents remove what they have not
used for longest when there is more than they keep, and say how much that is, so the same is assumed here:
what an agent got since counts against what it had before.

All of it is a guess. Files may be gone, or there from an earlier life; runs find their values wherever they
are executed. Only large values count: to move others costs nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from taskyard_api.v1 import common_pb2
from taskyard_controlplane.owner.peers.agent_session import AgentSession

LEAST_BYTES: Final = 256 * 1024
"""Smaller values are on their way for a quarter of a millisecond."""
MOST_NAMES: Final = 32_768
"""Values of which it is remembered who has them: some 15 MB. Those named last stay."""
MOST_KEEPERS: Final = 16
"""Agents that are remembered for each. Of what even more have, any of these will do."""
MOST_NEAR: Final = 16
"""Agents at the store's directory that are looked at for one run."""

Value = tuple[str, int]
"""The name and the size of a blob."""


class Keeper:
    """What is known of an agent with a directory of its own."""

    __slots__ = ("agent", "capacity", "received")

    def __init__(self, agent: AgentSession, capacity: int) -> None:
        """Assume that the agent keeps up to `capacity` bytes."""
        self.agent = agent
        self.capacity = capacity
        self.received = 0
        """How many bytes it got in all."""


class KeptValues:
    """The large values of agents, as far as anybody can tell."""

    def __init__(self) -> None:
        """Know of nothing."""
        self.any = False
        """Whether any agent has a directory of its own; as long as none has, nothing here matters."""
        self._keepers: dict[AgentSession, Keeper] = {}
        self._near: dict[AgentSession, None] = {}
        # By name, and by keeper: what that had received before, when it used the value last. Those named last
        # come last. Keepers that have left count as having nothing.
        self._where: dict[str, dict[Keeper, int]] = {}

    def said(self, agent: AgentSession, capacity: int) -> None:
        """Take in what an agent keeps in a directory of its own; 0: nothing, it sees that of the store."""
        keeper = self._keepers.get(agent)
        if not capacity:
            self.leave(agent)
            self._near[agent] = None
        elif keeper is not None:
            keeper.capacity = capacity
        else:
            self._near.pop(agent, None)
            self._keepers[agent] = Keeper(agent, capacity)
        self.any = bool(self._keepers)

    def leave(self, agent: AgentSession) -> None:
        """Forget an agent."""
        keeper = self._keepers.pop(agent, None)
        if keeper is not None:
            keeper.capacity = -1  # so nothing of it is taken for kept, as long as names refer to it
            del keeper.agent
        self._near.pop(agent, None)
        self.any = bool(self._keepers)
        if not self.any:
            self._where.clear()

    def is_apart(self, agent: AgentSession) -> bool:
        """Whether what an agent has depends on what it has made and fetched."""
        return agent in self._keepers

    def note(self, agent: AgentSession, blobs: Iterable[common_pb2.BlobRef]) -> None:
        """Take in that an agent has some blobs: it has made them, or fetches them."""
        keeper = self._keepers.get(agent)
        if keeper is None:
            return
        for blob in blobs:
            if blob.name and LEAST_BYTES <= blob.size <= keeper.capacity:
                self._note(keeper, blob.name, blob.size)

    def _note(self, keeper: Keeper, name: str, size: int) -> None:
        keepers = self._where.pop(name, None)
        if keepers is None:
            keepers = {}
            if len(self._where) >= MOST_NAMES:
                del self._where[next(iter(self._where))]
        self._where[name] = keepers
        at = keepers.pop(keeper, None)
        if at is None or keeper.received - at > keeper.capacity:
            keeper.received += size
        if len(keepers) >= MOST_KEEPERS:
            del keepers[next(iter(keepers))]
        keepers[keeper] = keeper.received - size

    def held(self, agent: AgentSession, values: Iterable[Value]) -> int:
        """Return how many bytes of some values an agent has that is apart."""
        keeper = self._keepers[agent]
        return sum(size for name, size in values if self._has(keeper, name))

    def _has(self, keeper: Keeper, name: str) -> bool:
        at = self._where.get(name, {}).get(keeper)
        return at is not None and keeper.received - at <= keeper.capacity

    def holders(self, values: Iterable[Value]) -> Iterator[tuple[AgentSession, int]]:
        """Return agents that have some of these values, and how many bytes of them: those that see the
        store's directory have all of them. Not every agent that there is, if there are many.
        """
        held: Counter[Keeper] = Counter()
        total = 0
        for name, size in values:
            total += size
            for keeper, at in self._where.get(name, {}).items():
                if keeper.received - at <= keeper.capacity:
                    held[keeper] += size
        for agent in islice(self._near, MOST_NEAR):
            yield agent, total
        for keeper, size in held.items():
            yield keeper.agent, size
