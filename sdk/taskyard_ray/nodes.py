"""What the nodes of a Ray cluster are given: an actor for each, which has started an agent.

Invariant: agents end with their actors, and actors with the program, however that ends: Ray sees to the one,
the kernel to the other.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from taskyard._engine.own_agent.on_workers import Order, Ordered
from taskyard.logging import get_logger

LOOK_SECONDS: Final = 1.0
"""How often the program looks for new nodes, and asks after its actors."""
END_SECONDS: Final = 15.0
"""How long agents may take for their end, before Ray ends them."""


@contextmanager
def agents_on_nodes(ordered: Ordered) -> Iterator[None]:
    """Have an agent on each node of the cluster that is connected while entered, also on those that join."""
    nodes = _Nodes(ordered)
    nodes.look()
    nodes.start()
    try:
        yield
    finally:
        nodes.close()


class _AgentOnNode:
    """The actor: it starts an agent on its node when it begins there, and again when Ray has restarted it."""

    def __init__(self, order: Order, slots: int) -> None:
        self._ended, self._why = threading.Event(), ("", "")
        self._agent = order.fulfil(slots, self._failed)

    def _failed(self, how: str, log: str) -> None:
        self._why = how, log
        self._ended.set()

    def wait(self) -> tuple[str, str]:
        """Return why the agent has ended by itself, once it has, and the end of its log."""
        self._ended.wait()
        return self._why

    def close(self) -> None:
        """End the agent in good order."""
        self._agent.close()
        self._ended.set()


class _Nodes:
    """The actors of one flow run. A thread looks after them."""

    def __init__(self, ordered: Ordered) -> None:
        self._ordered = ordered
        # Two threads: one says when the agent has ended, the other is told to end it.
        options = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 2}
        self._actor_class = ray.remote(**options)(_AgentOnNode)
        self._actors: dict[str, Any] = {}
        self._waits: dict[Any, str] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=ordered.order.queue, daemon=True)

    def start(self) -> None:
        """Begin to look after them."""
        self._thread.start()

    def look(self) -> None:
        """Have an actor on each node that is new and has processors, and ask after those that are there."""
        for node in ray.nodes():
            slots, node_id = int(node["Resources"].get("CPU", 0)), node["NodeID"]
            if node["Alive"] and slots and node_id not in self._actors:
                self._begin_on(node_id, slots)
        ready, _ = ray.wait(list(self._waits), num_returns=len(self._waits), timeout=0)
        for wait in ready:
            self._hear(self._waits.pop(wait), wait)

    def _begin_on(self, node_id: str, slots: int) -> None:
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = self._actor_class.options(scheduling_strategy=there).remote(self._ordered.order, slots)
        self._actors[node_id] = actor
        self._waits[actor.wait.remote()] = node_id
        self._ordered.on(node_id)

    def _hear(self, node_id: str, wait: Any) -> None:
        try:
            how, log = ray.get(wait)
        except RayError as error:
            if any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes()):
                self._ordered.failed(node_id, f"could not be started ({error})", "")
            else:
                self._ordered.lost(node_id)
        else:
            self._ordered.failed(node_id, how, log)

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # whatever Ray raises when it is gone
                if not self._closing.is_set():
                    self._ordered.fail(f"the Ray cluster was lost: {error!r}")
                return

    def close(self) -> None:
        """End the agents, then the actors."""
        self._closing.set()
        self._thread.join()
        try:
            ends = [actor.close.remote() for actor in self._actors.values()]
            ray.wait(ends, num_returns=len(ends), timeout=END_SECONDS)
            for actor in self._actors.values():
                with suppress(ValueError):
                    ray.kill(actor)
        except Exception as error:  # it is being left, and what the flow run gives is known
            get_logger("task_runner.ray").warning("The Ray cluster was lost before it was left: %r", error)
