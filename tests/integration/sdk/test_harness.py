"""The yard that tests of users get: of its own, shared while it runs, gone afterwards, and able to fail."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from support.plane_and_agent import Plane
from support.programs import eventually

from taskyard import flow, task
from taskyard._network.session.sessions import current_session
from taskyard.cache_policies import INPUTS
from taskyard.exceptions import ConnectionFailed
from taskyard.testing.harness import Harness
from taskyard.testing.utilities import get_most_recent_flow_run, taskyard_test_harness

RUNNERS = ["agents", "threads"]


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task(cache_policy=INPUTS)
def cached(x: int) -> int:
    return x


@task
def process_id() -> int:
    return os.getpid()


@flow
def adding(x: int) -> int:
    return add(x) + add.submit(x).result() + sum(add.map([x, x]).result())


@flow
def states_of(x: int) -> str:
    name = cached(x, return_state=True).name
    assert name is not None
    return name


def accepts(harness: Harness) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(harness.home / "yard.sock")) == 0


def settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("TASKYARD_")}


@pytest.mark.parametrize("runner", RUNNERS)
def test_row_130_flows_run_in_a_yard_that_is_thrown_away(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TASKYARD_SERVER", "127.0.0.1:1")
    monkeypatch.setenv("TASKYARD_RESULTS_DEFAULT_STORAGE", str(tmp_path / "results"))
    monkeypatch.setenv("TASKYARD_RESULTS_PERSIST_BY_DEFAULT", "on")
    before = settings()
    with taskyard_test_harness(task_runner=runner) as harness:
        assert adding(1) == 8
        assert harness.home.exists()
        assert accepts(harness)
    assert settings() == before
    assert not harness.home.exists()
    assert not accepts(harness)
    assert list(tmp_path.iterdir()) == []


def test_the_most_recent_flow_run_may_be_none() -> None:
    with taskyard_test_harness(), pytest.raises(LookupError, match="there is no flow run yet"):
        asyncio.run(get_most_recent_flow_run())


@pytest.mark.slow
def test_each_one_begins_with_nothing() -> None:
    for _ in range(3):
        with taskyard_test_harness() as harness:
            assert harness.flow_runs() == []
            assert states_of(1) == "Completed"
            assert states_of(1) == "Cached"
            assert [run.flow_name for run in harness.flow_runs()] == ["states_of"] * 2


@pytest.mark.slow
def test_a_program_that_is_connected_stays_so(plane: Plane) -> None:
    assert adding(1) == 8
    session = current_session()
    with taskyard_test_harness():
        assert current_session() is not session
        assert adding(2) == 12
    assert current_session() is session
    assert not session.failed
    assert adding(3) == 16


@pytest.mark.slow
def test_one_inside_another_is_the_same() -> None:
    with taskyard_test_harness(slots=1) as outer:
        with taskyard_test_harness(task_runner="threads") as inner:
            assert inner is outer
            assert process_id() == os.getpid()
        assert process_id() != os.getpid()
        refused = pytest.raises(RuntimeError, match="running with other options: slots=1, not 2")
        with refused, taskyard_test_harness(slots=2):
            pass
        assert adding(1) == 8


def test_none_begins_inside_of_a_run_of_another_yard(plane: Plane) -> None:
    @flow
    def inside() -> None:
        with taskyard_test_harness():
            pass

    with pytest.raises(RuntimeError, match="cannot be started inside of a flow or task"):
        inside()


@pytest.mark.slow
def test_delays_of_retries_last_where_that_is_wanted() -> None:
    attempts: list[float] = []

    @task(retries=2, retry_delay_seconds=0.4)
    def third_time() -> None:
        attempts.append(time.monotonic())
        if len(attempts) < 3:
            raise OSError("again")

    with taskyard_test_harness(task_runner="threads", retry_delay_factor=0.5):
        flow(lambda: third_time())()
    assert len(attempts) == 3
    assert attempts[2] - attempts[0] > 2 * 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "timeout", "said"),
    [
        ("echo 'No module named x' >&2; exit 3", 30, "(?s)it ended with exit code 3.*No module named x"),
        (
            "exec sleep 60",
            0.1,
            r"(?s)it did not answer in time \(see 'server_startup_timeout'\).*wrote nothing",
        ),
    ],
)
def test_one_that_does_not_start_says_why_and_leaves_nothing(
    script: str, timeout: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    place = tmp_path / "temporary"
    place.mkdir()
    before = settings()
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.tempdir", str(place))
        patched.setattr(sys, "executable", str(broken))
        with pytest.raises(ConnectionFailed, match=said), taskyard_test_harness(timeout):
            pass
    assert settings() == before
    assert list(place.iterdir()) == []
    with taskyard_test_harness():  # the next one is not the one that failed
        assert adding(1) == 8


KILLED = """
import time
from taskyard.testing.utilities import get_most_recent_flow_run, taskyard_test_harness
with taskyard_test_harness() as harness:
    processes = [harness._server._process.pid, harness._agent._process.pid]
    print(harness.home, *processes, flush=True)
    time.sleep(600)
"""


def has_ended(process: str) -> bool:
    try:
        return not Path(f"/proc/{process}/cmdline").read_bytes()  # of a zombie
    except OSError:
        return True


@pytest.mark.slow
def test_its_programs_end_with_tests_that_are_killed() -> None:
    program = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout is not None
        home, *processes = program.stdout.readline().split()
        program.send_signal(signal.SIGKILL)
    for process in processes:
        eventually(partial(has_ended, process), "the program ends")
    shutil.rmtree(home)
