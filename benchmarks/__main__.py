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


@dataclass(frozen=True)
class Driver:
    """One process to run: which module, by which interpreter, asked for what."""

    system: str
    module: str
    env: Mapping[str, str]

    def python(self) -> Path:
        """Return the interpreter, making the peer's virtualenv when it is missing."""
        return Path(sys.executable) if self.system == "taskyard" else environments.ensure(self.system)


def drivers(settings: Settings) -> Iterator[Driver]:
    """Yield Taskyard's driver, one for each length of its queue, and one for each peer."""
    shared = " ".join(name for name in settings.workloads if name != "W5")
    if shared:
        yield Driver("taskyard", "benchmarks.taskyard_driver", {"WORKLOADS": shared})
    if "W5" in settings.workloads:
        for size in settings.queued:
            yield Driver("taskyard", "benchmarks.taskyard_driver", {"WORKLOADS": "W5", "QUEUED": str(size)})
    for peer in settings.peers if shared else ():
        yield Driver(peer, f"benchmarks.peers.{peer}_driver", {"WORKLOADS": shared})


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
    report(results, Console(width=width))
    return 1 if any(result.variant == FAILED for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
