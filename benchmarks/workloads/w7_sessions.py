"""W7 (Taskyard only): many client sessions that submit small runs and wait for them, beside one session.

A few processes hold all of them, each session on a connection of its own. The one session has as many runs
under way as all of them together, as far as a frame may carry them.
"""

import os
import signal
import time
from collections.abc import Iterator

from benchmarks import cpu
from benchmarks.many_sessions import CONNECTED, DONE
from benchmarks.processes import Child
from benchmarks.results import Metric, Result
from benchmarks.settings import Settings
from benchmarks.taskyard_system import TaskyardSystem

SESSIONS = 200
AT_ONCE = 20
ROUNDS = 20
PROCESSES = 4
_MOST_AT_ONCE = 1_000
_TIMEOUT = 600.0


def run(system: TaskyardSystem, settings: Settings) -> Iterator[Result]:
    """Measure one session and many, on a system that is started for it; both have as many runs in all."""
    many, runs = settings.scaled(SESSIONS), settings.scaled(SESSIONS) * AT_ONCE * ROUNDS
    at_once = min(_MOST_AT_ONCE, many * AT_ONCE)
    try:
        system.start_server()
        system.start_agent("--serve", "benchmarks.served_tasks")
        _measure(system, 1, at_once, max(1, runs // at_once // 10))  # warm-up
        for sessions, each, rounds in ((1, at_once, runs // at_once), (many, AT_ONCE, ROUNDS)):
            metrics = _measure(system, sessions, each, rounds)
            variant = f"sessions-{sessions}"
            yield Result("W7", system.name, variant, sessions * each * rounds, system.database, metrics)
    finally:
        system.stop()


def _measure(system: TaskyardSystem, sessions: int, at_once: int, rounds: int) -> dict[str, Metric]:
    [server] = system.roles()["control_plane"]
    cpu.wait_until_idle([server], timeout=30.0)
    empty = cpu.rss_mb(server)
    clients = [_client(system, share, at_once, rounds) for share in _shares(sessions)]
    for client in clients:
        client.wait_ready(CONNECTED, on_stdout=True)
    connected = cpu.rss_mb(server)
    roles = system.roles()
    peaks, meter, begin = cpu.Peaks(roles), cpu.Meter(roles), time.perf_counter()
    for client in clients:
        os.kill(client.pid, signal.SIGUSR1)
    for client in clients:
        client.wait_ready(DONE, on_stdout=True, timeout=_TIMEOUT)
    seconds, runs = time.perf_counter() - begin, sessions * at_once * rounds
    spent = meter.spent(roles)
    cpu.wait_until_idle([server], timeout=30.0)
    worked = cpu.rss_mb(server)
    for client in clients:
        system.processes.stop(client)
    metrics: dict[str, Metric] = {
        "runs_per_s": round(runs / seconds, 1),
        "control_plane_us_per_run": round(spent["control_plane"] * 1e6 / runs, 1),
        "control_plane_mb": round(empty, 1),
        "control_plane_peak_mb": peaks.metrics()["control_plane_peak_mb"],
        "control_plane_mb_after": round(worked, 1),
    }
    if sessions > 1:
        # After one session the difference is what the runs have left, not what a session takes.
        metrics["kb_per_session_idle"] = round((connected - empty) * 1e3 / sessions, 1)
        metrics["kb_per_session_after"] = round((worked - empty) * 1e3 / sessions, 1)
    return metrics


def _shares(sessions: int) -> list[int]:
    """Return how many sessions each process has."""
    shares = [sessions // PROCESSES + (number < sessions % PROCESSES) for number in range(PROCESSES)]
    return [share for share in shares if share]


def _client(system: TaskyardSystem, sessions: int, at_once: int, rounds: int) -> Child:
    numbers = map(str, (sessions, at_once, rounds))
    return system.start_program(
        "sessions", "benchmarks.many_sessions", os.environ["TASKYARD_SERVER"], *numbers
    )
