"""W9 (Taskyard only): a restart with many finished and many open runs, and what listings of them cost.

Finished runs are written through the control plane's own store, as `benchmarks.listings` does; the open ones
are submitted to a server, without an agent, and belong to no session. Then the server is killed, and started
again.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from benchmarks import cpu
from benchmarks.listings import fill, median_ms
from benchmarks.many_sessions import template
from benchmarks.results import Metric, Result
from benchmarks.settings import Settings
from benchmarks.taskyard_system import TaskyardSystem
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import run_service_pb2_grpc, states_pb2
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import RunState

FINISHED = 3_000_000
OPEN = 1_000_000
_AT_ONCE = 1_000
_PAGE = 20
_SUBMIT_SECONDS = 120
_IDLE_SECONDS = 300.0
_OPEN_STATES: Any = [int(state) for state in RunState if state < RunState.COMPLETED]
_FILTERS = {
    "plain": pb.RunFilter(),
    "completed": pb.RunFilter(states=[states_pb2.RUN_STATE_COMPLETED]),
    "failed": pb.RunFilter(states=[states_pb2.RUN_STATE_FAILED]),
    "open": pb.RunFilter(states=_OPEN_STATES),
}


def run(system: TaskyardSystem, settings: Settings) -> Iterator[Result]:
    """Measure one size of a database."""
    finished, waiting = settings.scaled(FINISHED), settings.scaled(OPEN)
    try:
        metrics = _prepared(system, finished, waiting) | _restarted(system) | _listed(waiting)
        variant = f"finished-{finished}-open-{waiting}"
        yield Result("W9", system.name, variant, finished + waiting, system.database, metrics)
    finally:
        system.stop()


def _prepared(system: TaskyardSystem, finished: int, waiting: int) -> dict[str, Metric]:
    """Write the runs, and leave a server that has just been killed."""
    begin = time.perf_counter()
    fill(system.provide_database().url, finished)
    between = time.perf_counter()
    system.start_server()
    submitting = time.perf_counter()
    _submit(waiting)
    submitted = time.perf_counter()
    [server] = system.roles()["control_plane"]
    cpu.wait_until_idle([server], timeout=_IDLE_SECONDS)
    before = cpu.rss_mb(server)
    system.kill_server()
    return {
        "fill_s": round(between - begin, 1),
        "first_start_s": round(submitting - between, 2),
        "submit_s": round(submitted - submitting, 1),
        "control_plane_mb_before": round(before, 1),
    }


def _submit(waiting: int) -> None:
    """Submit runs of a task that no agent serves, as a program in another language would."""
    with grpc.insecure_channel(os.environ["TASKYARD_SERVER"]) as channel:
        stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
        for start in range(0, waiting, _AT_ONCE):
            run_ids = new_ids(min(_AT_ONCE, waiting - start))
            request = pb.SubmitRunsRequest(
                runs=[pb.NewRun(run_id=run_id, template=template()) for run_id in run_ids]
            )
            answer = stub.SubmitRuns(request, timeout=_SUBMIT_SECONDS)
            if answer.refused:
                raise RuntimeError(f"runs were refused: {answer.refused[0]}")


def _restarted(system: TaskyardSystem) -> dict[str, Metric]:
    """Return how long it takes from the start of the process to its first answer."""
    begin = time.perf_counter()
    system.start_server()
    ready = time.perf_counter()
    with grpc.insecure_channel(os.environ["TASKYARD_SERVER"]) as channel:
        stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
        stub.ListRuns(pb.ListRunsRequest(page_size=1), timeout=60)
    answered = time.perf_counter()
    [server] = system.roles()["control_plane"]
    peak = cpu.peak_mb(server)
    cpu.wait_until_idle([server], timeout=_IDLE_SECONDS)
    return {
        "ready_s": round(ready - begin, 2),
        "first_answer_s": round(answered - begin, 2),
        "control_plane_peak_mb": round(peak, 1),
        "control_plane_mb": round(cpu.rss_mb(server), 1),
    }


def _listed(waiting: int) -> dict[str, Metric]:
    """Return what a first page and a count cost, as calls; the count proves that no open run is missing."""
    with grpc.insecure_channel(os.environ["TASKYARD_SERVER"]) as channel:
        stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
        metrics: dict[str, Metric] = {}
        for name, wanted in _FILTERS.items():
            metrics[f"list_{name}_ms"] = round(median_ms(_listing(stub, wanted)), 2)
        metrics["count_all_ms"] = round(
            median_ms(lambda: stub.CountRuns(pb.CountRunsRequest(), timeout=60)), 2
        )
        still_open = pb.CountRunsRequest(filter=_FILTERS["open"])
        metrics["count_open_ms"] = round(median_ms(lambda: stub.CountRuns(still_open, timeout=60)), 2)
        found = sum(count.runs for count in stub.CountRuns(still_open, timeout=60).counts)
    if found != waiting:
        raise RuntimeError(f"{found} runs are open after the restart, and {waiting} were before it")
    return metrics


def _listing(stub: Any, wanted: pb.RunFilter) -> Callable[[], object]:
    request = pb.ListRunsRequest(page_size=_PAGE, filter=wanted)
    return lambda: stub.ListRuns(request, timeout=60)
