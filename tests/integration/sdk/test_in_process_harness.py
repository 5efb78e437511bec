"""A yard of tests inside of their process: everything is there, and time goes as far as the test says."""

import asyncio
import os
import subprocess
import threading
from datetime import timedelta

import pytest
from support.programs import eventually

from taskyard import flow, task
from taskyard.cache_policies import INPUTS
from taskyard.exceptions import ConnectionFailed
from taskyard.testing.utilities import taskyard_test_harness
from taskyard_controlplane import in_process

calls: list[int] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@task
def process_id() -> int:
    return os.getpid()


@task(cache_policy=INPUTS, cache_expiration=timedelta(hours=1))
def hourly(x: int) -> int:
    calls.append(x)
    return x


@task(retries=2, retry_delay_seconds=3600)
def third_time() -> int:
    calls.append(len(calls))
    if len(calls) < 3:
        raise ValueError("not yet")
    return len(calls)


@flow
def asking(x: int) -> int:
    return hourly(x)


def test_server_and_tasks_are_in_this_process_and_gone_afterwards() -> None:
    before = set(threading.enumerate())
    with taskyard_test_harness(in_process=True) as harness:
        assert flow(lambda: process_id())() == os.getpid()
        [run] = harness.flow_runs()
        assert run.state is not None
        assert run.state.is_completed()
        children = subprocess.run(
            ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
        ).stdout
        assert str(harness.home) not in children
    assert not harness.home.exists()
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any(name.startswith(("taskyard-server", "taskyard-writer", "reader")) for name in left)


def test_what_is_cached_for_an_hour_is_there_for_an_hour() -> None:
    with taskyard_test_harness(in_process=True) as harness:
        for minutes in (0, 59, 2, 1):
            harness.advance(timedelta(minutes=minutes))
            asking(7)
    assert calls == [7, 7]


def test_retries_wait_for_their_time_and_for_no_real_time() -> None:
    @flow
    def patient() -> int:
        future = third_time.submit()
        for attempts in (1, 2):
            eventually(lambda: future.state.name == "AwaitingRetry", f"attempt {attempts} failed", 60)
            harness.advance(3599)
            assert (len(calls), future.state.name) == (attempts, "AwaitingRetry")
            harness.advance(1)
            eventually(lambda: len(calls) > attempts, f"attempt {attempts + 1} began", 60)  # noqa: B023
        return future.result(timeout=60)

    with taskyard_test_harness(in_process=True, retry_delay_factor=1) as harness:
        assert patient() == 3


def test_nobody_is_taken_for_gone_because_the_clock_was_set_forward() -> None:
    gate, begun = threading.Event(), threading.Event()

    @task
    def long() -> None:
        calls.append(0)
        begun.set()
        gate.wait(60)

    @flow
    def holding() -> None:
        future = long.submit()
        begun.wait(60)
        for _ in range(20):
            harness.advance(2.5)  # less than what the server would notice by itself, again and again
        harness.advance(timedelta(days=3))
        asking(1)  # answered by a server that has taken note of all that
        gate.set()
        future.result(timeout=60)

    with taskyard_test_harness(in_process=True, task_runner="threads") as harness:
        holding()
        states = [run.state for run in harness.flow_runs()]
    assert all(state is not None and state.is_completed() for state in states)
    assert calls == [0, 1]


def test_flows_go_on_when_the_server_begins_anew() -> None:
    @flow
    def interrupted() -> int:
        first = asking(1)
        harness.restart_server()
        return first + asking(1)

    with taskyard_test_harness(in_process=True) as harness:
        assert interrupted() == 2
    assert calls == [1]


def test_what_one_process_cannot_do_is_said() -> None:
    with taskyard_test_harness(in_process=True) as harness:
        with pytest.raises(RuntimeError, match="no agent to kill"):
            harness.kill_agent()
        for wrong in (-1, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="time only goes forward"):
                harness.advance(wrong)
        with (
            pytest.raises(RuntimeError, match="task_runner=threads, not agents"),
            taskyard_test_harness(task_runner="agents"),
        ):
            pass


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.testing.harness.YARD_DATABASE", ".")
    with (
        pytest.raises(ConnectionFailed, match=r"the yard of the tests could not be started: .+"),
        taskyard_test_harness(in_process=True),
    ):
        pass


def _ended(name: str) -> None:
    eventually(lambda: name not in {thread.name for thread in threading.enumerate()}, "the thread ends")


def test_a_server_that_cannot_be_made_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no more files")

    monkeypatch.setattr(in_process, "ControlPlane", refuse)
    with pytest.raises(ConnectionFailed, match="no more files"), taskyard_test_harness(in_process=True):
        pass
    _ended("taskyard-server")


def test_a_server_whose_start_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(in_process.ControlPlane, "start", hang)
    short = taskyard_test_harness(in_process=True, server_startup_timeout=1)
    with pytest.raises(ConnectionFailed, match="did not answer in time"), short:
        pass
    _ended("taskyard-server")
