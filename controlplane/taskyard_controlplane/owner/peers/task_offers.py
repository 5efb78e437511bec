"""The tasks that one agent has registered by name: kept as they came, and read when somebody asks."""

from collections.abc import Iterator, Sequence

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_controlplane.domain.matching import Offer


class TaskOffers:
    """Equal for agents that describe the same tasks in the same way."""

    __slots__ = ("_hash", "_offers")

    def __init__(self, tasks: Sequence[pb.TaskOffer], offer: Offer) -> None:
        """Keep the `tasks` of a hello; those that name no encodings have what the agent's `offer` names."""
        own = sorted(offer.encodings or ())
        self._offers = tuple(sorted((task.name, _described(task, own)) for task in tasks))
        self._hash = hash(self._offers)

    def __len__(self) -> int:
        """Return how many tasks there are."""
        return len(self._offers)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over names and serialised descriptions."""
        return iter(self._offers)

    def __eq__(self, other: object) -> bool:
        """Whether another agent offers the same."""
        return isinstance(other, TaskOffers) and self._offers == other._offers

    def __hash__(self) -> int:
        """Return the same number for the same offers."""
        return self._hash


def _described(task: pb.TaskOffer, encodings: Sequence[str]) -> bytes:
    if not task.encodings and encodings:
        own, task = task, pb.TaskOffer(encodings=encodings)
        task.MergeFrom(own)
    return task.SerializeToString(deterministic=True)
