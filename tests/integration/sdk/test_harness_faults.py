"""What tests of users can do with their yard: choose who executes, see their own runs, have things fail."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import eventually

from taskyard import flow, task
from taskyard._network.session.sessions import current_session
from taskyard.cache_policies import INPUTS
from taskyard.results import ResultStore
from taskyard.task_runners import AgentTaskRunner
from taskyard.testing.harness import Harness
from taskyard.testing.utilities import get_most_recent_flow_run, taskyard_test_harness
from taskyard_contract.states import RunState

RUNNERS = ["agents", "threads"]


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[Harness]:
    """The yard of all tests here."""
    with taskyard_test_harness() as harness:
        yield harness


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task(cache_policy=INPUTS)
def cached(x: int) -> int:
    return x


@task(retries=2, retry_delay_seconds=600)
def third_time(path: str) -> int:
    return times(path, 3)


@task
def waiting(directory: str) -> int:
    """Say that it has begun, and wait for a word."""
    begun = times(f"{directory}/begun", 0)
    deadline = time.monotonic() + 60
    while not os.path.exists(f"{directory}/go"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return begun


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


@flow
def waits(directory: str) -> int:
    return waiting(directory)


def times(path: str, enough: int) -> int:
    """Count in a file how often it was called."""
    with open(path, "a") as file:
        file.write("x")
    count = len(Path(path).read_text())
    if count < enough:
        raise OSError("again")
    return count


def accepts(harness: Harness) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(harness.home / "yard.sock")) == 0


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Path]:
    """A directory in which the task of the test has begun, in a flow that waits for it in a thread."""
    ended: list[int] = []
    flow_run = threading.Thread(target=lambda: ended.append(waits(str(tmp_path))))
    flow_run.start()
    eventually((tmp_path / "begun").exists, "the task begins")
    yield tmp_path
    (tmp_path / "go").touch()
    flow_run.join(60)
    assert len(ended) == 1


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_option_says_who_executes_tasks(runner: str) -> None:
    with taskyard_test_harness(task_runner=runner):
        assert (flow(lambda: process_id())() == os.getpid()) is (runner == "threads")
        assert (process_id() == os.getpid()) is (runner == "threads")
        by_agents = flow(lambda: process_id(), task_runner=AgentTaskRunner())
        assert by_agents() != os.getpid()


@pytest.mark.parametrize("runner", RUNNERS)
def test_delays_of_retries_pass_at_once(runner: str, tmp_path: Path, harness: Harness) -> None:
    @flow(retries=1, retry_delay_seconds=600)
    def main() -> int:
        times(str(tmp_path / "flow"), 2)
        return third_time.submit(str(tmp_path / "task")).result()

    with taskyard_test_harness(task_runner=runner), harness.fresh():
        assert main() == 3
        (run,) = harness.flow_runs()
        states = current_session().client().list_run_states(run.id.bytes)
    assert RunState.AWAITING_RETRY in [state.state for state in states]


def test_what_a_killed_agent_executed_is_repeated(begun: Path, harness: Harness) -> None:
    harness.kill_agent()
    eventually(lambda: len((begun / "begun").read_text()) == 2, "the task begins once more")


def test_a_flow_goes_on_when_the_server_is_started_again(begun: Path, harness: Harness) -> None:
    harness.restart_server()
    assert accepts(harness)
    assert adding(1) == 8
    assert (begun / "begun").read_text() == "x"


def test_a_view_shows_a_test_what_is_its_own(harness: Harness) -> None:
    before = len(harness.flow_runs())
    assert states_of(1) == "Completed"
    for _ in range(2):
        with harness.fresh():
            assert harness.flow_runs() == []
            assert states_of(1) == "Completed"
            assert states_of(1) == "Cached"
            assert [run.flow_name for run in harness.flow_runs()] == ["states_of"] * 2
    assert len(harness.flow_runs()) == before + 5
    assert len(harness.flow_runs(limit=2)) == 2
    assert harness.clear_cache() == 1


def test_a_view_has_files_of_its_own(harness: Harness) -> None:
    with harness.fresh():
        ResultStore().write(1, "key")
        assert ResultStore().exists("key")
    with harness.fresh():
        assert not ResultStore().exists("key")


def test_the_most_recent_flow_run_is_found() -> None:
    adding(1)
    assert asyncio.run(get_most_recent_flow_run()).flow_name == "adding"
    states_of(2)
    assert asyncio.run(get_most_recent_flow_run()).flow_name == "states_of"
