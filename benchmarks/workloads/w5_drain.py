"""W5 (Taskyard only): how fast a long queue drains, and what it costs the control plane in memory.

The queue is filled while no agent is connected. The drain is timed from the first result, so that the
agent's start is not part of it, to the last.
"""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks import cpu
from benchmarks.results import Metric, Result
from benchmarks.taskyard_system import TaskyardSystem

_FILL_TIMEOUT = 1_800.0
_CHUNK = 50_000


def run(system: TaskyardSystem, size: int) -> Iterator[Result]:
    """Measure one queue length on a control plane and a database of its own."""
    try:
        system.start_server()
        yield _measure(system, size)
    finally:
        system.stop()


def _measure(system: TaskyardSystem, size: int) -> Result:
    def body() -> dict[str, Metric]:
        control_plane = system.roles()["control_plane"]
        web = system.roles()["web"]
        cpu.wait_until_idle(control_plane, timeout=30.0)
        metrics = _memory("idle", control_plane, web)
        begin = time.perf_counter()
        futures = _submit(system, size)
        metrics["submit_s"] = round(time.perf_counter() - begin, 2)
        if not cpu.wait_until_idle(control_plane, timeout=_FILL_TIMEOUT):
            raise RuntimeError(
                f"the control plane was still busy {_FILL_TIMEOUT:.0f} s after {size} submissions"
            )
        return metrics | _memory("queued", control_plane, web) | _drain(system, futures)

    return Result("W5", system.name, f"queued-{size}", size, system.database, system.inside(body))


def _submit(system: TaskyardSystem, size: int) -> list[Any]:
    """Submit in chunks, so that the client never holds all arguments of a million runs at once."""
    futures: list[Any] = []
    while len(futures) < size:
        futures.extend(system.submit_map(min(_CHUNK, size - len(futures))))
    return futures


def _memory(moment: str, control_plane: list[int], web: list[int]) -> dict[str, Metric]:
    return {
        f"control_plane_rss_mb_{moment}": round(sum(map(cpu.rss_mb, control_plane)), 1),
        f"web_rss_mb_{moment}": round(sum(map(cpu.rss_mb, web)), 1),
    }


def _drain(system: TaskyardSystem, futures: list[Any]) -> dict[str, Metric]:
    started = time.perf_counter()
    meter = cpu.Meter(system.roles())
    system.start_agent()
    futures[0].wait()
    first = time.perf_counter()
    for future in futures:
        future.wait()
    ended = time.perf_counter()
    spent = sum(meter.spent(system.roles()).values())
    return {
        "runs_per_s": round(len(futures) / (ended - first), 1),
        "drain_s": round(ended - first, 2),
        "agent_start_to_first_result_s": round(first - started, 3),
        "cpu_us_per_run": round(spent * 1e6 / len(futures), 1),
    }
