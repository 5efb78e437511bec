"""Runs W1 on Taskyard under a profiler and writes what each process spent its time on to bench-out/.

py-spy samples every process, threads included, from outside. Without it cProfile runs inside the client, the
control plane and the agent, their main threads only, and slows them down; workers then go unprofiled.
"""

import cProfile
import os
import pstats
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cpu import Roles
from benchmarks.drive import leave_cleanly_when_terminated
from benchmarks.settings import CHECKOUT, Settings
from benchmarks.taskyard_system import TaskyardSystem
from benchmarks.workloads import w1_bulk

OUT = CHECKOUT / "bench-out"
_SAMPLES_PER_SECOND = 200
_LINES = 40


class CProfiledSystem(TaskyardSystem):
    """Starts the programs by their modules: the `taskyard` command would replace the profiled process."""

    def server_command(self, options: list[str]) -> list[str]:
        return [*_cprofile("control_plane"), "taskyard_controlplane", "serve", *options]

    def agent_command(self, options: list[str]) -> list[str]:
        return [*_cprofile("agent"), "taskyard_agent", *options]


def _cprofile(role: str) -> list[str]:
    return [sys.executable, "-m", "cProfile", "-o", str(OUT / f"{role}.pstats"), "-m"]


def find_py_spy() -> str | None:
    """Return py-spy from this environment or from the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


@contextmanager
def sampling(py_spy: str, roles: Roles) -> Iterator[None]:
    """Record every process while the body runs."""
    options = ["--format", "raw", "--rate", str(_SAMPLES_PER_SECOND), "--threads", "--duration", "3600"]
    recorders = []
    for role, pids in roles.items():
        for pid in pids:
            target = ["--pid", str(pid), "--output", str(OUT / f"{role}-{pid}.raw")]
            command = [py_spy, "record", *target, *options]
            recorders.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)
        for recorder in recorders:
            recorder.wait(60)


def summarize(raw: Path) -> str:
    """Return the functions of a recording by their own and by their whole share of its samples."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(set(frames), int(count)))
    total = max(1, own.total())
    lines = [f"{raw.name}: {own.total()} samples at {_SAMPLES_PER_SECOND}/s"]
    for title, counter in (("own", own), ("whole", whole)):
        lines += ["", f"share, {title}"]
        lines += [f"{count / total:6.1%}  {frame}" for frame, count in counter.most_common(_LINES)]
    return "\n".join(lines) + "\n"


def profile_by_sampling(py_spy: str, settings: Settings) -> None:
    """Warm up without the profiler, then sample the rounds of the map."""
    system = TaskyardSystem(settings.database)
    try:
        system.start()
        w1_bulk.measure(system, "map", settings.n, 1)
        with sampling(py_spy, system.roles()):
            w1_bulk.measure(system, "map", settings.n, settings.rounds)
    finally:
        system.stop()
    for raw in sorted(OUT.glob("*.raw")):
        raw.with_suffix(".txt").write_text(summarize(raw))


def profile_by_tracing(settings: Settings) -> None:
    """Let cProfile write one file per process as it ends, and print each as text."""
    system = CProfiledSystem(settings.database)
    tracer = cProfile.Profile()
    try:
        system.start()
        tracer.runcall(w1_bulk.measure, system, "map", settings.n, settings.rounds)
    finally:
        system.stop()
    tracer.dump_stats(OUT / "client.pstats")
    for dump in sorted(OUT.glob("*.pstats")):
        with dump.with_suffix(".txt").open("w") as text:
            pstats.Stats(str(dump), stream=text).sort_stats("tottime").print_stats(_LINES)


def main() -> None:
    """Profile with what is installed and say where the files are."""
    settings = Settings.from_environment()
    leave_cleanly_when_terminated()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    if (py_spy := find_py_spy()) is not None:
        profile_by_sampling(py_spy, settings)
    else:
        print("py-spy is not installed: cProfile of client, control plane and agent, main threads only")
        profile_by_tracing(settings)
    for text in sorted(OUT.glob("*.txt")):
        print(os.path.relpath(text))


if __name__ == "__main__":
    main()
