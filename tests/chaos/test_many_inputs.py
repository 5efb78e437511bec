"""Runs that take 1 GB from 20,000 others: within bounds of memory, and whoever is killed meanwhile."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.failpoints import BLIND, Failing
from support.processes import Child, Installation, installation, workers_of

COUNT, SIZE = 20_000, 50_000
MIB = 1024 * 1024
ALL = [COUNT, COUNT * SIZE, COUNT]
SECONDS = 240

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]


class Peaks:
    """What processes took of memory at most, looked at ten times a second."""

    def __init__(self) -> None:
        self.server = self.agent = self.workers = 0
        self._over = threading.Event()

    def watch(self, running: Installation, agent: Child) -> None:
        assert running.server is not None
        while not self._over.wait(0.1):
            self.server = max(self.server, _memory(running.server.pid))
            self.agent = max(self.agent, _memory(agent.pid))
            for worker in workers_of(agent):
                self.workers = max(self.workers, _memory(worker.pid))

    def end(self) -> None:
        self._over.set()


def _memory(pid: int) -> int:
    """Return what a process has of memory, without the pages of files that it has mapped."""
    try:
        found = psutil.Process(pid).memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(found.rss - found.shared)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    database = f"sqlite:///{tmp_path / 'taskyard.db'}"
    with installation(tmp_path, database, agent_lease=5, session_lease=20) as running:
        yield running
    for path in (*tmp_path.glob("taskyard*/*/*"), *tmp_path.glob("taskyard.db*")):
        path.unlink()  # gigabytes


def inputs_in(running: Installation) -> list[Path]:
    """Return the files with inputs in the store, also those that are being written."""
    return list((running.folder / "taskyard-blobs").glob("*/*inputs-*"))


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_nobody_but_the_worker_holds_many_inputs(running: Installation, tmp_path: Path, far: bool) -> None:
    if far:
        running.variables["agent-first"] = Failing(tmp_path).variables(BLIND)
    running.start_server()
    agent = running.start_agent()
    peaks = Peaks()
    watching = threading.Thread(target=peaks.watch, args=(running, agent))
    watching.start()
    try:
        client = running.start_client("many_inputs", COUNT, SIZE)
        first, second = running.succeeded(client, SECONDS)
    finally:
        peaks.end()
        watching.join()
    assert (first["first"], second["second"]) == (ALL, ALL)
    running.wait_for(lambda: not inputs_in(running), 60, "removal of what was written for the runs")
    print({name: size // MIB for name, size in vars(peaks).items() if isinstance(size, int)})
    assert peaks.server < 500 * MIB
    assert peaks.workers < 2 * COUNT * SIZE


@pytest.mark.parametrize("whom", ["server", "agent", "both"])
def test_a_kill_in_the_middle_loses_nothing(running: Installation, whom: str) -> None:
    running.start_server()
    agent = running.start_agent()
    client = running.start_client("many_inputs", COUNT // 4, SIZE)
    running.wait_for(lambda: inputs_in(running) or not client.running, SECONDS, "inputs to be written")
    assert client.running, client.describe()
    if whom != "agent":
        running.kill_server()
    if whom != "server":
        agent.kill()
    if whom != "agent":
        running.start_server()
    if whom != "server":
        running.start_agent()
    first, second = running.succeeded(client, SECONDS)
    expected = [COUNT // 4, COUNT // 4 * SIZE, COUNT // 4]
    assert (first["first"], second["second"]) == (expected, expected)
    executed = running.history.read_text().split().count("total")
    assert 2 <= executed <= 3
