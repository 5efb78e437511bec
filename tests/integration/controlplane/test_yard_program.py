"""The local yard as processes: one per home, with an agent that comes and goes with it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from taskyard_api.v1 import admin_service_pb2, admin_service_pb2_grpc

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="yard-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start yards; whatever is left of them is killed after the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(idle_seconds: float = 60) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "taskyard_controlplane", "yard", "--home", str(home)]
        command += ["--slots", "1", "--idle-seconds", str(idle_seconds), "--log-level", "ERROR"]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield begin
    for process in running:
        for child in agents_of(process):
            child.kill()
        process.kill()
        process.communicate()


def ready(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def agents_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children()
    return []


def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def connected_agents(home: Path) -> list[str]:
    with grpc.insecure_channel(f"unix:{home}/yard.sock") as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        listed = stub.ListAgents(admin_service_pb2.ListAgentsRequest(), timeout=5).agents
    return [agent.name for agent in listed]


def test_a_yard_serves_with_an_agent_and_ends_with_it(start: Start, home: Path) -> None:
    process = start()
    assert ready(process) == f"taskyard yard ready on unix:{home}/yard.sock (1 slots, home {home})\n"
    assert (home / "yard.pid").read_text() == f"{process.pid}\n"
    eventually(lambda: connected_agents(home) == ["local"])
    [agent] = agents_of(process)
    process.terminate()
    assert process.wait(20) == 0
    assert not agent.is_running()
    assert not (home / "yard.sock").exists()
    assert not (home / "yard.pid").exists()


def test_a_yard_keeps_what_its_agent_keeps_in_its_own_home(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))
    ready(start())
    eventually(lambda: connected_agents(home) == ["local"])
    assert (home / "agents" / "local" / "blobs").is_dir()
    assert not any(tmp_path.iterdir())


def test_a_second_yard_in_the_same_home_leaves_at_once(start: Start, home: Path) -> None:
    first = start()
    ready(first)
    second = start()
    _, errors = second.communicate(timeout=5)
    assert second.returncode == 4
    assert f"another yard serves {home} already" in errors
    assert first.poll() is None


def test_yards_started_together_agree_on_one(start: Start, home: Path) -> None:
    yards = [start() for _ in range(3)]
    eventually(lambda: sum(yard.poll() is None for yard in yards) == 1)
    assert sorted(yard.returncode for yard in yards if yard.returncode is not None) == [4, 4]


def test_an_idle_yard_ends_by_itself(start: Start, home: Path) -> None:
    process = start(idle_seconds=0.3)
    ready(process)
    assert process.wait(20) == 0
    assert not (home / "yard.sock").exists()


def test_a_yard_whose_home_is_gone_ends(start: Start, home: Path, tmp_path: Path) -> None:
    process = start()
    ready(process)
    shutil.rmtree(home.rename(tmp_path / "gone"))
    assert process.wait(20) == 0


def test_a_dead_agent_is_started_again(start: Start, home: Path) -> None:
    process = start()
    ready(process)
    [agent] = agents_of(process)
    agent.kill()
    eventually(
        lambda: [child.pid for child in agents_of(process) if child.is_running()] not in ([], [agent.pid])
    )
    process.terminate()
    assert process.wait(20) == 0


def test_a_killed_yard_takes_its_agent_along_and_the_next_one_starts(start: Start, home: Path) -> None:
    process = start()
    ready(process)
    eventually(lambda: connected_agents(home) == ["local"])
    [agent] = agents_of(process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    eventually(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE, 40)
    assert ready(start()).startswith("taskyard yard ready")
