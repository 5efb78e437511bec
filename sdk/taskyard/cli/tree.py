"""What a run has called, as a tree in which runs of the same task are one node.

Inside a flow run the server counts, so that a map of half a million runs costs as much as one of ten. Nested
flow runs are looked into one by one, as long as there are few of the same flow.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from taskyard.cli.inside import Inside, Key, TaskSums
from taskyard.cli.searching import Search
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run

MOST_FLOWS: Final = 10
"""So many nested runs of the same flow are shown each for itself; of more, only how many there are."""
MOST_CALLED: Final = 1_000
"""Runs that one task run has called, and are looked at; a page."""


class Node:
    """A run, or all runs of a task that were called from the same place, and what these have called."""

    def __init__(self, run: "Run | None" = None, sums: TaskSums | None = None) -> None:
        """Make a node of a run, or of some."""
        self.run = run
        self.sums = sums
        self.inside: list[Node] = []
        self.left_out = ""
        """Why what is inside is not shown, for people."""


def tree_of(api: "Client", run: "Run", depth: int) -> Node:
    """Return what a run has called; nested flow runs down to a depth."""
    root = Node(run)
    if int(run.kind) != RunKind.FLOW:
        root.inside = [Node(sums=sums) for sums in _called_by(api, run)]
    elif depth == 0:
        root.left_out = "--depth shows more"
    else:
        sums = Inside(api, run.run_id, details=True).read()
        root.inside = _children(sums, "", set(), _nested(api, run, sums, depth))
    return root


def _children(
    sums: dict[Key, TaskSums], caller: str, above: set[str], nested: dict[Key, list[Node]]
) -> list[Node]:
    """Return what the runs of a task have called; `above` are the tasks on the way to it."""
    nodes: list[Node] = []
    for key, task in sums.items():
        if task.caller != caller or (caller and caller in above):
            continue  # what calls itself is shown once
        if key in nested:
            nodes += nested[key]
            continue
        node = Node(sums=task)
        if task.kind != RunKind.FLOW:
            node.inside = _children(sums, task.name, above | {caller}, nested)
        nodes.append(node)
    return nodes


def _nested(api: "Client", run: "Run", sums: dict[Key, TaskSums], depth: int) -> dict[Key, list[Node]]:
    """Return the nested flow runs that are shown each for itself, by what they are one of."""
    few = {key for key, task in sums.items() if key[0] == RunKind.FLOW and task.runs <= MOST_FLOWS}
    found: dict[Key, list[Node]] = {key: [] for key in few}
    for name in {key[1] for key in few}:
        for flow in _flows(api, run, name):
            key = int(flow.kind), name, _caller_of(api, run, flow)
            if key in found:
                found[key].append(tree_of(api, flow, depth - 1))
    return {key: nodes for key, nodes in found.items() if nodes}


def _flows(api: "Client", run: "Run", name: str) -> "Iterable[Run]":
    from taskyard_api.v1.run_service_pb2 import RunFilter

    wanted = RunFilter(flow_run_id=run.run_id, task_name=name)
    wanted.kind = int(RunKind.FLOW)  # type: ignore[assignment]  # numerically equal
    return Search(api, wanted, MOST_CALLED, to_the_end=True, oldest_first=True)


def _caller_of(api: "Client", run: "Run", called: "Run") -> str:
    if called.caller_run_id in (b"", run.run_id):
        return ""
    return api.get_run(called.caller_run_id).task_name


def _called_by(api: "Client", run: "Run") -> list[TaskSums]:
    """Return what a task run has called, as far as a page holds."""
    from taskyard_api.v1.run_service_pb2 import RunFilter

    wanted = RunFilter(
        caller_run_id=run.run_id, flow_run_id=run.flow_run_id, submitted_from_us=run.submitted_us
    )
    found: dict[tuple[int, str], TaskSums] = {}
    for called in Search(api, wanted, MOST_CALLED, oldest_first=True):
        key = int(called.kind), called.task_name
        sums = found.setdefault(key, TaskSums(*key, run.task_name))
        sums.states[int(called.state)] += 1
        if called.started_us and called.ended_us:
            sums.durations[max(0, called.ended_us - called.started_us)] += 1
            sums.started_us = min(filter(None, (sums.started_us, called.started_us)))
            sums.ended_us = max(sums.ended_us, called.ended_us)
    return list(found.values())
