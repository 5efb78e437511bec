"""Runs the chosen workloads on Taskyard and on each peer named, one after the other, and reports.

Every system is driven by a process of its own; its JSON lines are passed on to standard output as they come.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import environments
from benchmarks.processes import environment
from benchmarks.report import report
from benchmarks.results import FAILED, Result
from benchmarks.settings import CHECKOUT, Settings
from benchmarks.turns import merged


@dataclass(frozen=True)
class Driver:
    """One process to run: which module, by which interpreter, asked for what."""

    system: str
    module: str
    env: Mapping[str, str]

    def python(self) -> Path:
        """Return the interpreter, making the peer's virtualenv when it is missing."""
        return Path(sys.executable) if self.system == "taskyard" else environments.ensure(self.system)


_OWN = ("W6-uploads", "W7", "W9")
"""What only Taskyard is measured by, each in a process of its own."""


def drivers(settings: Settings) -> Iterator[Driver]:
    """Yield Taskyard's driver, one for each peer, and those of what has processes of its own."""
    alone = ("W5", "W6", *_OWN)
    shared = " ".join(name for name in settings.workloads if name not in alone)
    if shared:
        yield Driver("taskyard", "benchmarks.taskyard_driver", {"WORKLOADS": shared})
    if "W5" in settings.workloads:
        for size in settings.queued:
            yield Driver("taskyard", "benchmarks.taskyard_driver", {"WORKLOADS": "W5", "QUEUED": str(size)})
    for peer in settings.peers if shared else ():
        yield _peer(peer, shared)
    if "W6" in settings.workloads:
        for _ in range(settings.rounds):
            yield Driver("taskyard", "benchmarks.taskyard_driver", {"WORKLOADS": "W6"})
            yield from (_peer(peer, "W6") for peer in settings.peers)
    for name in _OWN:
        if name in settings.workloads:
            yield Driver("taskyard", "benchmarks.taskyard_driver", {"WORKLOADS": name})


def _peer(peer: str, workloads: str) -> Driver:
    return Driver(peer, f"benchmarks.peers.{peer}_driver", {"WORKLOADS": workloads})


def run(driver: Driver) -> Iterator[Result]:
    """Run one driver to its end; a failure becomes a result that says so, and the others still run."""
    try:
        command = [str(driver.python()), "-m", driver.module]
    except subprocess.CalledProcessError as error:
        yield _failed(driver, f"installation failed: {error}")
        return
    env = environment(driver.env)
    with subprocess.Popen(command, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if (result := Result.from_json(line)) is not None:
                    yield result
        except BaseException:
            # Interrupted: the driver ends what it started, then itself.
            process.terminate()
            raise
    if process.returncode:
        yield _failed(driver, f"driver ended with exit code {process.returncode}; its errors are above")


def _failed(driver: Driver, why: str) -> Result:
    return Result(driver.env["WORKLOADS"], driver.system, FAILED, 0, "none", skipped=why)


def main() -> int:
    """Return 1 when a driver failed: half a comparison must not look like a whole one."""
    settings = Settings.from_environment()
    results = []
    for driver in drivers(settings):
        for result in run(driver):
            print(result.to_json(), flush=True)
            results.append(result)
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 160)
    report(merged(results), Console(width=width))
    return 1 if any(result.variant == FAILED for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
