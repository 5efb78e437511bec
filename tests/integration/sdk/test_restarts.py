"""A control plane that is killed and started again is not noticed by programs, however large values are."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from support.plane_and_agent import Plane

from taskyard import flow, task

T = TypeVar("T")
LARGE = bytes(300_000)


@task
def echo(value: bytes) -> bytes:
    return value


def during_a_restart(plane: Plane, work: Callable[[], T]) -> T:
    """Do something that begins while there is no control plane."""
    plane.server.kill()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        plane.server = plane.start_server()
        return done.result(30)


def test_large_arguments_are_submitted_during_a_restart(plane: Plane) -> None:
    assert echo(b"") == b"", "the session is open"
    assert during_a_restart(plane, lambda: echo(LARGE)) == LARGE


def test_deferred_runs_are_submitted_during_a_restart(plane: Plane) -> None:
    assert echo(b"") == b"", "the session is open"
    assert during_a_restart(plane, lambda: echo.delay(b"later").result(20)) == b"later"


def test_states_are_read_during_a_restart(plane: Plane, tmp_path: Path) -> None:
    @task
    def wait_for(file: Path) -> None:
        while not file.exists():
            time.sleep(0.01)

    @flow
    def main() -> bool:
        future = wait_for.submit(tmp_path / "go")
        try:
            return during_a_restart(plane, lambda: future.state.is_final())
        finally:
            (tmp_path / "go").touch()

    assert main() is False


def test_large_results_are_read_during_a_restart(plane: Plane) -> None:
    @flow
    def main() -> bytes:
        future = echo.submit(LARGE)
        future.wait(20)
        return during_a_restart(plane, lambda: future.result(20))

    assert main() == LARGE
