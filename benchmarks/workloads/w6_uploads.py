"""W6-uploads (Taskyard only): round trips while others upload, beside those of the quiet system.

Once they go where the BlobService lets them, from a process that does not see the store's directory, once
that process writes into the directory. Round trips are measured until the last one is stored.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import grpc

from benchmarks import cpu
from benchmarks.results import Metric, Result, percentile
from benchmarks.settings import Settings
from benchmarks.taskyard_system import TaskyardSystem
from benchmarks.uploader import READY, STORED
from benchmarks.workloads.w2_round_trips import timed
from taskyard._network.session.sessions import current_session
from taskyard_api.v1 import admin_service_pb2, admin_service_pb2_grpc

UPLOADS = 10
SIZE = 500_000_000
_LEAST = 1_000_000
_TIMEOUT = 600.0
_WARM_UP = 50


def run(system: TaskyardSystem, settings: Settings) -> Iterator[Result]:
    """Measure a system that is started for it; where it takes no such blobs, the largest that it takes."""
    try:
        system.start()
        size = min(settings.scaled(SIZE, _LEAST), _largest())
        for variant, place in (("round trips", _nowhere), ("round trips, directory", _directory)):
            metrics = system.inside(lambda place=place: _measure(system, settings.round_trips, size, place()))  # type: ignore[misc]
            yield Result("W6-uploads", system.name, variant, UPLOADS, system.database, metrics)
    finally:
        system.stop()


def _largest() -> int:
    with grpc.insecure_channel(os.environ["TASKYARD_SERVER"]) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        info = stub.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=30)
    return info.limits.payload_bytes


def _nowhere() -> list[str]:
    return []


def _directory() -> list[str]:
    """Return where the control plane keeps blobs, as programs here see it."""
    directory = current_session().open().blobs.directory
    assert directory is not None, "the benchmarks keep blobs in a directory"
    return [str(directory.root)]


def _measure(system: TaskyardSystem, round_trips: int, size: int, place: list[str]) -> dict[str, Metric]:
    uploader = system.start_program(
        "uploader", "benchmarks.uploader", os.environ["TASKYARD_SERVER"], str(UPLOADS), str(size), *place
    )
    uploader.wait_ready(READY, on_stdout=True, timeout=_TIMEOUT)
    _times(system, _few(_WARM_UP))
    quiet = _times(system, _few(round_trips))
    control_plane = {"control_plane": system.roles()["control_plane"]}
    peaks, meter = cpu.Peaks(control_plane), cpu.Meter(control_plane)
    os.kill(uploader.pid, signal.SIGUSR1)
    beside = _times(system, lambda _: STORED in uploader.stdout.read_text() or not uploader.lives())
    stored = re.search(rf"{STORED} ([\d.]+)", uploader.output())
    if stored is None:
        raise RuntimeError(f"the uploads failed:\n{uploader.output()[-2000:]}")
    metrics: dict[str, Metric] = {"upload_mb": size // 1_000_000}
    metrics["uploaded_mb_per_s"] = round(UPLOADS * size / 1e6 / float(stored[1]), 1)
    metrics["control_plane_cpu_s"] = round(meter.spent(control_plane)["control_plane"], 2)
    metrics |= peaks.metrics() | _quantiles("quiet", quiet) | _quantiles("beside", beside)
    metrics["p99_times_quiet"] = round(percentile(beside, 0.99) / percentile(quiet, 0.99), 2)
    return metrics


def _few(count: int) -> Callable[[int], bool]:
    return lambda done: done >= count


def _times(system: TaskyardSystem, ended: Callable[[int], bool]) -> list[float]:
    """Return the milliseconds of round trips, at least one, until it has ended."""
    deadline, times = time.monotonic() + _TIMEOUT, list[float]()
    while not times or not ended(len(times)):
        times.append(timed(system, len(times)) * 1e3)
        if time.monotonic() > deadline:
            raise RuntimeError(f"the uploads had not ended after {_TIMEOUT:.0f} s")
    return times


def _quantiles(name: str, times: list[float]) -> dict[str, Metric]:
    found = {f"{name}_p{share:g}_ms": round(percentile(times, share / 100), 2) for share in (50, 99)}
    return {**found, f"{name}_max_ms": round(max(times), 1), f"{name}_trips": len(times)}
