"""The tasks that connected agents have registered by name, as they are listed.

Agents of one deployment register the same tasks. So what an agent offers is looked at once for all that offer
the same, however many they are; and only the tasks of one page become messages.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from taskyard_api.v1 import admin_service_pb2 as pb
from taskyard_api.v1 import agent_service_pb2
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.task_offers import TaskOffers

MOST_SHOWN: Final = 100
"""Queues, and agents, of one task."""


class TaskListing:
    """What is offered at one moment, in the order of the tasks' names."""

    def __init__(self, agents: Iterable[AgentSession], queue: str = "") -> None:
        """Look at those `agents` that are connected and, if that is said, serve a queue."""
        by_offers: dict[TaskOffers, list[AgentSession]] = {}
        for agent in agents:
            if agent.connected and agent.tasks and (not queue or queue in agent.queues):
                by_offers.setdefault(agent.tasks, []).append(agent)
        self._had_by: dict[tuple[str, bytes], list[list[AgentSession]]] = {}
        for offers, group in by_offers.items():
            for offer in offers:
                self._had_by.setdefault(offer, []).append(group)
        self._order = sorted(self._had_by)

    def __len__(self) -> int:
        """Return how many tasks there are."""
        return len(self._order)

    def tasks(self, start: int) -> Iterator[pb.Task]:
        """Iterate over the tasks from a position on."""
        for offer in islice(self._order, start, None):
            agents = [agent for group in self._had_by[offer] for agent in group]
            yield _message(agent_service_pb2.TaskOffer.FromString(offer[1]), agents)


def _message(offer: agent_service_pb2.TaskOffer, agents: Sequence[AgentSession]) -> pb.Task:
    return pb.Task(
        name=offer.name,
        version=offer.version,
        encodings=offer.encodings,
        parameter_schema=offer.parameter_schema,
        result_schema=offer.result_schema,
        description=offer.description,
        queues=_first(queue for agent in agents for queue in agent.queues),
        agents=_first(agent.name for agent in agents),
    )


def _first(names: Iterable[str]) -> list[str]:
    """Return the first of some names, each once."""
    return [bounded(name, NAME_LIMIT) for name in sorted(set(names))[:MOST_SHOWN]]
