"""Answers questions about flows and runs with searches: of one kind, or of one by what fits the other."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from taskyard.client.reading.matching import RunTest, all_of, flow_test, run_test
from taskyard.client.reading.narrowing import MOST_IDS, Nothing, narrowed
from taskyard.client.reading.searching import Search, bounds
from taskyard.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, TaskRunFilter
from taskyard.exceptions import SearchTooWide
from taskyard_api.v1.run_service_pb2 import RunFilter
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run


def flow_runs(
    calls: "Client",
    flows: FlowFilter | None,
    runs: FlowRunFilter | None,
    task_runs: TaskRunFilter | None,
    sort: str,
    limit: int | None,
    offset: int,
) -> "list[Run]":
    """Return flow runs: of the flows that fit, that fit themselves, and in which a task run fits.

    Raises:
        SearchTooWide: Too many runs would have to be read.
    """
    try:
        asked = narrowed(RunKind.FLOW, runs, flows)
        within = None if task_runs is None else _flow_runs_of(calls, task_runs)
        if within is not None and not asked.run_ids and len(within) <= MOST_IDS:
            asked.run_ids.extend(within)
        test = all_of([flow_test(flows), run_test(runs), _is_one_of(within)])
        return Search(calls).listed([asked], test, sort, limit, offset)
    except Nothing:
        bounds(limit, offset)
        return []


def task_runs(
    calls: "Client",
    flows: FlowFilter | None,
    flow_runs: FlowRunFilter | None,
    runs: TaskRunFilter | None,
    sort: str,
    limit: int | None,
    offset: int,
) -> "list[Run]":
    """Return task runs: that fit, in the flow runs that fit, of the flows that fit; tracking runs among them.

    Raises:
        SearchTooWide: Too many runs would have to be read, or more than 1,000 flow runs fit.
    """
    try:
        asked = _asked_of_tasks(runs)
        if flows is not None or flow_runs is not None:
            inside = _fitting_flow_runs(calls, flows, flow_runs)
            asked = [each for wanted in asked for each in _inside_each(wanted, inside)]
        return Search(calls, tracking=True).listed(asked, run_test(runs), sort, limit, offset)
    except Nothing:
        bounds(limit, offset)
        return []


def flow_names(
    calls: "Client",
    flows: FlowFilter | None,
    runs: FlowRunFilter | None = None,
    task_runs: TaskRunFilter | None = None,
) -> set[str]:
    """Return the names of the flows that fit and have runs that fit.

    Raises:
        SearchTooWide: Too many runs would have to be read.
    """
    try:
        asked = narrowed(RunKind.FLOW, runs, flows)
        within = None if task_runs is None else _flow_runs_of(calls, task_runs)
    except Nothing:
        return set()
    test = all_of([flow_test(flows), run_test(runs), _is_one_of(within)])
    return {run.task_name for run in Search(calls).all([asked], test)}


def has_flow(calls: "Client", name: str) -> bool:
    """Say whether there is a run of the flow of a name."""
    wanted = FlowFilter(name=FlowFilterName(any_=[name]))
    asked = narrowed(RunKind.FLOW, None, wanted)
    return bool(Search(calls).listed([asked], flow_test(wanted), "ID_DESC", 1, 0))


def flow_runs_among(calls: "Client", run_ids: Iterable[bytes]) -> set[bytes]:
    """Return which of some runs are flow runs."""
    ids, found = list(dict.fromkeys(run_ids)), set[bytes]()
    for first in range(0, len(ids), MOST_IDS):
        asked = RunFilter(kind=int(RunKind.FLOW), run_ids=ids[first : first + MOST_IDS])  # type: ignore[arg-type]
        found.update(run.run_id for run in Search(calls).all([asked], None))
    return found


def _asked_of_tasks(runs: TaskRunFilter | None) -> list[RunFilter]:
    """Return what to ask for task runs: those that are recorded, and subflows, of which others are made.

    Raises:
        Nothing: No run of either kind can fit.
    """
    asked = []
    for kind in (RunKind.TASK, RunKind.FLOW):
        with suppress(Nothing):
            asked.append(narrowed(kind, runs))
    if not asked:
        raise Nothing
    return asked


def _flow_runs_of(calls: "Client", task_runs: TaskRunFilter) -> set[bytes]:
    """Return the flow runs in which a task run fits."""
    fitting = Search(calls, tracking=True).all(_asked_of_tasks(task_runs), run_test(task_runs))
    found = {run.flow_run_id for run in fitting if run.flow_run_id}
    if not found:
        raise Nothing
    return found


def _fitting_flow_runs(calls: "Client", flows: FlowFilter | None, runs: FlowRunFilter | None) -> list[bytes]:
    asked = narrowed(RunKind.FLOW, runs, flows)
    test = all_of([flow_test(flows), run_test(runs)])
    found = Search(calls).listed([asked], test, "ID_DESC", MOST_IDS + 1, 0)
    if len(found) > MOST_IDS:
        raise SearchTooWide(
            f"more than {MOST_IDS:,} flow runs fit flow_filter and flow_run_filter, and the task runs of "
            "each would have to be asked for; let fewer fit"
        )
    return [run.run_id for run in found]


def _inside_each(asked: RunFilter, flow_run_ids: Iterable[bytes]) -> Iterator[RunFilter]:
    """Yield the same question about what is in each of some flow runs, unless it is about another one."""
    for flow_run_id in flow_run_ids:
        if asked.flow_run_id in (b"", flow_run_id):
            inside = RunFilter()
            inside.CopyFrom(asked)
            inside.flow_run_id = flow_run_id
            yield inside


def _is_one_of(run_ids: set[bytes] | None) -> RunTest | None:
    if run_ids is None:
        return None
    wanted = {UUID(bytes=each) for each in run_ids}
    return lambda run: UUID(bytes=run.run_id) in wanted
