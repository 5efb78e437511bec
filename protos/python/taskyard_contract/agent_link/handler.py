"""The two sides of a link that are not the protocol: who the agent is, and whoever executes runs for it.

`LinkHandler` is the interface of an executor: a pool of worker processes, the threads of an SDK process.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2


@dataclass(frozen=True)
class Identity:
    """Who an agent is, as its hello says."""

    agent_id: str
    session_id: bytes
    name: str
    queues: tuple[str, ...]
    slots: int
    labels: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    tasks: Sequence[pb.TaskOffer] = ()
    """Those that it serves by name."""
    serves: tuple[str, ...] = ()
    """Those that its program has in its own code, by the names in `RunTemplate.served_as`."""
    coroutines: int = 0
    """How many runs of coroutine functions it executes beside its slots; 0 when they take slots."""
    own_session_id: bytes = b""
    """The session of the same process; empty where an agent is a program of its own."""


class Demand(NamedTuple):
    """How much work the executor wants."""

    in_hand: int
    window: int
    chunk_size: int
    nested_only: bool = False
    """Whether only runs are wanted that were submitted from inside other runs."""
    nested_only_shares: tuple[int, ...] = ()
    """Of which sessions only such runs; empty for all of them."""
    coroutines: "Demand | None" = None
    """How many runs of coroutine functions, for which there is room apart; None when they take slots."""


class LinkHandler(Protocol):
    """Whoever executes runs. All calls come from the stream's event loop and must not block."""

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """A stream is open; the limits in `welcome` hold from here on.

        It knows of no run yet that it has started: that has to be said again.
        """
        ...

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        """Execute the runs of a chunk, now or later; each has to end in one of the session's ways."""
        ...

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs; confirm each with `LinkSession.cancelled`, unless it was reported before."""
        ...

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs without reporting them: they are somebody else's now."""
        ...

    def on_worlds_ended(self, world_ids: Sequence[bytes]) -> None:
        """Programs have ended: what is kept for the worlds with these ids is hardly of use any more."""
        ...

    def on_doubt(self, doubtful: bool) -> None:
        """Start nothing new while `doubtful`: the lease may be about to lapse."""
        ...

    def on_lease_lost(self) -> None:
        """Stop what others could be executing by now: the lease has lapsed.

        What is stopped is lost, and told as such; what has not started stays in hand, and must not start
        before the doubt is over. The server says with the next welcome what it still counts on.
        """
        ...

    def on_drain(self) -> None:
        """The server asks the agent to finish what it holds and to leave."""
        ...

    def held(self) -> Iterable[pb.RunKey]:
        """Name the runs in hand: all that were assigned, but for those that were reported or are dropped."""
        ...

    def demand(self) -> Demand:
        """Say how much work is wanted."""
        ...
