"""Large values of agents and programs that do not see the store go past the server, by the data process."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.programs import Program, Stage, eventually

LARGE = """
from taskyard import flow, task

@task
def make(size):
    return bytes(size)

@task
def length(value, other):
    return len(value), len(other)

@flow
def main():
    made = make.submit(200_000_000)
    print(length.submit(made, bytes(50_000_000)).result(), len(made.result()))

main()
"""
SIZES = "(200000000, 50000000) 200000000"
FEW = 40_000_000
"""Less than any of the values, more than a database and logs of some runs."""


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="far-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def written(process: psutil.Process) -> int:
    """Return how many bytes a process has written to files."""
    return int(process.io_counters().write_chars)


def far(stage: Stage, home: Path, *arguments: str) -> tuple[Program, Program]:
    """Start a server, and an agent; neither that nor programs are sure to see the server's directory."""
    server = stage.serve(*arguments)
    for mark in stage.home.rglob(".store"):
        mark.unlink()
    return server, stage.work_elsewhere(home, "--slots", "1")


def children(server: Program) -> list[psutil.Process]:
    found = psutil.Process(server.process.pid).children()
    return [each for each in found if "taskyard_controlplane.data_process" in each.cmdline()]


@pytest.mark.skipif(sys.platform != "linux", reason="counts bytes by what Linux says")
def test_the_server_sees_no_byte_of_large_values(stage: Stage, home: Path) -> None:
    server, agent = far(stage, home)
    assert not children(server), "it is started when somebody could use it"
    done = stage.run_script(LARGE)
    assert done.stdout.strip() == SIZES, done.stderr + server.log + agent.log
    [data] = children(server)
    assert written(data) > 240_000_000
    assert written(psutil.Process(server.process.pid)) < FEW, server.log
    assert "signature" not in server.log + agent.log + done.stderr
    assert server.end() == 0
    eventually(lambda: not data.is_running(), "the data process ends with the server")


def test_without_it_they_go_through_the_server(stage: Stage, home: Path) -> None:
    server, _ = far(stage, home, "--data-listen", "none")
    done = stage.run_script(LARGE)
    assert done.stdout.strip() == SIZES, done.stderr
    assert not children(server)
