"""What tasks say of their progress: how long they may be silent, and what their next attempt hears."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from support.plane_and_agent import Plane

from taskyard import flow, heartbeat, runtime, task
from taskyard.exceptions import MissingContextError, NotSerializable, PayloadTooLarge, TaskRunTimeoutError
from taskyard.task_runners import ThreadPoolTaskRunner
from taskyard_api.v1 import run_service_pb2
from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub


def attempts(note: Path) -> int:
    note.write_text(note.read_text() + "x" if note.exists() else "x")
    return len(note.read_text())


@task(retries=1)
def resumes(note: str) -> Any:
    last = runtime.task_run.last_heartbeat_details
    if attempts(Path(note)) == 2:
        return last
    assert last is None
    for number in range(1000):
        heartbeat({"at": number})
    raise OSError("in the middle")


def test_the_next_attempt_hears_what_was_said_last(plane: Plane, tmp_path: Path) -> None:
    assert resumes(str(tmp_path / "n")) == {"at": 999}

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def threads() -> Any:
        return resumes(str(tmp_path / "t"))

    assert threads() == {"at": 999}


@task
def killed(note: str) -> Any:
    if attempts(Path(note)) == 2:
        return runtime.task_run.last_heartbeat_details
    while not Path(f"{note}.heard").exists():
        heartbeat({1, 2})  # no JSON, but a run with pickles may say more
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def test_a_run_whose_process_was_killed_goes_on_where_it_was(plane: Plane, tmp_path: Path) -> None:
    future = killed.delay(str(tmp_path / "n"))
    request = run_service_pb2.GetRunRequest(
        run_id=future.task_run_id.bytes, view=run_service_pb2.RUN_VIEW_FULL
    )
    with grpc.insecure_channel(plane.address) as channel:
        runs, deadline = RunServiceStub(channel), time.monotonic() + 30
        while not runs.GetRun(request, timeout=10).run.HasField("progress"):
            assert time.monotonic() < deadline
    (tmp_path / "n.heard").touch()
    assert future.result() == {1, 2}


SILENCE: Final = 1.5
"""Seconds; no process stands still for as long on a machine that has much to do."""


@task(heartbeat_timeout=SILENCE)
def talks(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        heartbeat()
        time.sleep(0.02)
    return "done"


@task(heartbeat_timeout=SILENCE, retries=1)
def silent(note: str) -> Any:
    if attempts(Path(note)) == 2:
        return runtime.task_run.last_heartbeat_details
    heartbeat("before")
    time.sleep(60)
    return None


def test_only_silence_ends_a_run(plane: Plane, tmp_path: Path) -> None:
    assert talks(2 * SILENCE) == "done"
    began = time.monotonic()
    assert silent(str(tmp_path / "n")) == "before"
    with pytest.raises(TaskRunTimeoutError, match=r"said nothing of its progress for 1\.5 seconds"):
        silent.with_options(retries=0)(str(tmp_path / "m"))
    assert time.monotonic() - began < 30


@task
def child() -> int:
    time.sleep(1.2 * SILENCE)
    return 1


@task(heartbeat_timeout=SILENCE)
def waits() -> int:
    return child() + child()


@task(heartbeat_timeout=SILENCE)
def waits_for_submitted() -> int:
    return child.submit().result() + child.submit().result()


def test_waiting_for_other_runs_is_no_silence(plane: Plane) -> None:
    assert waits() == 2

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def threads() -> list[int]:
        return [future.result() for future in (waits.submit(), waits_for_submitted.submit())]

    assert threads() == [2, 2]


@task(heartbeat_timeout=SILENCE)
def silent_in_python() -> None:
    heartbeat("before")
    while True:
        time.sleep(0.02)


def test_silence_ends_a_run_in_threads_too(plane: Plane) -> None:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def threads() -> str:
        silence, talk = silent_in_python.submit(), talks.submit(2 * SILENCE)
        with pytest.raises(TaskRunTimeoutError, match=r"said nothing of its progress for 1\.5 seconds"):
            silence.result()
        assert silence.state.name == "TimedOut"
        assert talk.result() == "done"
        return silence.state.message

    assert threads() == "the attempt said nothing of its progress for 1.5 seconds and was ended"


@task
def too_much(what: str) -> str:
    try:
        heartbeat("x" * 100_000 if what == "large" else threading.Lock())
    except (PayloadTooLarge, NotSerializable) as error:
        return type(error).__name__
    return "taken"


def test_what_cannot_be_said_is_refused_where_it_is_said(plane: Plane) -> None:
    assert too_much("large") == "PayloadTooLarge"
    assert too_much("lock") == "NotSerializable"
    with pytest.raises(MissingContextError, match="inside a function with @task"):
        heartbeat(1)


@pytest.mark.parametrize("wrong", ["soon", -1])
def test_a_timeout_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="'heartbeat_timeout' must"):
        task(heartbeat_timeout=wrong)(lambda: 1)
