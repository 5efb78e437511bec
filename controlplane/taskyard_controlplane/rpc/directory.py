"""Who owns which runs: in this process, at another address, or nobody yet.

Services are bound to this, not to an owner: so they exist before there is one, and a replica that owns
nothing can answer every call with the address of the one that does. A stream asks once, when it opens; a
unary call asks each time. Whoever stops being the owner ends, so no stream outlives its answer.
"""

from typing import Final

from taskyard_contract.errors import NotOwner
from taskyard_controlplane.domain.live_state import InHand, LiveState
from taskyard_controlplane.owner.serving.owner import Owner

ONLY_SHARD: Final = 0
"""All runs are in one shard in this version; ids and tables have room for more."""
RETRY_SECONDS: Final = 1.0
"""When to ask again while nobody owns the runs: a takeover takes about that long."""


class Directory:
    """The owners this process knows, shard by shard."""

    def __init__(self) -> None:
        """Know no owner yet: every call is told to come again."""
        self._places: dict[int, Owner | str] = {}

    def note(self, place: Owner | str, shard: int = ONLY_SHARD) -> None:
        """Note the owner of a shard: itself if it is in this process, else its address."""
        self._places[shard] = place

    def owner(self, shard: int = ONLY_SHARD) -> Owner:
        """Return the owner of a shard.

        Raises:
            NotOwner: It is not in this process; the error has its address, or says when to ask again.
        """
        place = self._places.get(shard, "")
        if not isinstance(place, str):
            return place
        if place:
            raise NotOwner(f"another replica owns these runs; call {place}", address=place)
        raise NotOwner("no replica owns these runs at the moment; call again", retry_after=RETRY_SECONDS)

    def served(self) -> int:
        """Return a number that grows with what an owner in this process does for its peers."""
        place = self._places.get(ONLY_SHARD, "")
        return 0 if isinstance(place, str) else place.metrics.commits

    def live_state(self, run_id: bytes) -> LiveState | None:
        """Return what an owner in this process knows about an open run, None when there is none."""
        place = self._places.get(ONLY_SHARD, "")
        return None if isinstance(place, str) else place.state_of(run_id)

    def held_by(self, agent_name: str) -> list[bytes]:
        """Return the runs that agents of a name execute, as far as an owner in this process knows."""
        place = self._places.get(ONLY_SHARD, "")
        return [] if isinstance(place, str) else place.held_by(agent_name)

    def in_hand(self, flow_run_id: bytes) -> list[InHand]:
        """Return the runs inside a flow run that are executed now, as an owner here knows."""
        place = self._places.get(ONLY_SHARD, "")
        return [] if isinstance(place, str) else place.in_hand(flow_run_id)
