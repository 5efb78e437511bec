"""W3: a fresh client process, from its start to its first result, with the system up and with it down."""

import subprocess
import time
from collections.abc import Iterator

from benchmarks.clients import READY
from benchmarks.processes import environment
from benchmarks.results import Result, spread
from benchmarks.settings import CHECKOUT, Settings
from benchmarks.systems import Program, System

_TIMEOUT = 120.0


def run_up(system: System, settings: Settings) -> Iterator[Result]:
    """Measure against the running system; a first program, not counted, fills the file cache."""
    if (program := system.first_result_up()) is not None:
        once(program)
        taken = [once(program) for _ in range(settings.rounds)]
        yield _result(system, "up", taken, system.database)


def run_down(system: System, settings: Settings) -> Iterator[Result]:
    """Measure with nothing running, for every way in which that can be."""
    for variant in system.down_variants:
        _once_down(system, variant)
        taken = [_once_down(system, variant) for _ in range(settings.rounds)]
        yield _result(system, variant, taken, system.down_database)


def _once_down(system: System, variant: str) -> tuple[float, float]:
    """What the program started is stopped before the next one begins."""
    program = system.first_result_down(variant)
    try:
        return once(program)
    finally:
        system.clean_up_after(program)


def once(program: Program) -> tuple[float, float]:
    """Return the seconds until the program printed its first result, and until it had ended."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        list(program.argv),
        cwd=CHECKOUT,
        env=environment(program.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        first = 0.0
        for line in process.stdout:
            if line.startswith(READY):
                first = time.perf_counter() - begin
                break
        # A daemon that inherited the pipe would keep it open: wait for the program, not for the pipe's end.
        process.wait(_TIMEOUT)
        ended = time.perf_counter() - begin
    if process.returncode or not first:
        raise RuntimeError(f"{' '.join(program.argv)} ended with {process.returncode} and no first result")
    return first, ended


def _result(system: System, variant: str, taken: list[tuple[float, float]], database: str) -> Result:
    metrics = spread("process_s", [ended for _, ended in taken])
    metrics |= spread("first_result_s", [first for first, _ in taken])
    return Result("W3", system.name, variant, len(taken), database, metrics)
