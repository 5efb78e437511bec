"""Runs are read, waited for and listened to by their ids, whoever submitted them."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.plane_and_agent import Plane, end_sessions, plane_and_agent

from taskyard import flow, get_run_logger, runtime, task
from taskyard.exceptions import RunNotFound
from taskyard.flow_runs import await_flow_run, flow_run_logs, read_flow_run, wait_for_flow_run
from taskyard.states import StateType
from taskyard.task_runs import await_task_run, read_task_run, task_run_logs, wait_for_task_run


def passes(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


@task(tags={"nightly"})
def gated(gate: str) -> str:
    get_run_logger().info("waits")
    passes(gate)
    get_run_logger().info("goes on")
    return gate


@task
def fails() -> None:
    raise LookupError("nothing there")


@task
def waits_for(run_id: str) -> Any:
    return wait_for_task_run(run_id).state.result()


class Elsewhere:
    """A flow that somebody else calls, which ends once it is let go."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate
        self._told: list[str] = []
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def begin(self) -> UUID:
        """Call it; returns the id of its run."""
        self._thread.start()
        assert self._began.wait(30)
        return UUID(self._told[0])

    def let_go(self) -> None:
        """Let it end."""
        self._gate.touch()

    def end(self) -> None:
        """Let it end and wait for that."""
        self.let_go()
        self._thread.join(30)

    def _call(self) -> None:
        @flow(name="elsewhere")
        def elsewhere() -> str:
            self._told.append(runtime.flow_run.id)
            self._began.set()
            return gated(str(self._gate))

        elsewhere()


@pytest.fixture
def elsewhere(plane: Plane, tmp_path: Path) -> Iterator[Elsewhere]:
    """Somebody else's flow, which is over after the test."""
    flow_run = Elsewhere(tmp_path / "gate")
    yield flow_run
    flow_run.end()


def after(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


def test_a_flow_run_of_somebody_else_is_read_and_waited_for(
    elsewhere: Elsewhere, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = elsewhere.begin()
    now = read_flow_run(run_id)
    assert (now.id, now.flow_name, now.state.type) == (run_id, "elsewhere", StateType.RUNNING)
    with pytest.raises(TimeoutError, match=f"flow run {run_id} did not end within 0.05 seconds"):
        wait_for_flow_run(run_id, timeout=0.05)
    logging.getLogger("taskyard").propagate = True
    with caplog.at_level(logging.INFO, "taskyard.flow_runs"):
        after(0.2, elsewhere.let_go)
        ended = wait_for_flow_run(str(run_id), timeout=30, poll_interval=1, log_states=True)
    assert ended.state.is_completed()
    assert ended.state.result() == str(tmp_path / "gate")
    assert ended.state.state_details.flow_run_id == run_id
    told = [record.message for record in caplog.records if record.message.startswith("flow run")]
    assert told == [f"flow run '{ended.name}' is Running", f"flow run '{ended.name}' is Completed"]


def test_an_event_loop_goes_on_meanwhile(elsewhere: Elsewhere, tmp_path: Path) -> None:
    async def program(run_id: UUID) -> Any:
        waiting = asyncio.create_task(await_flow_run(run_id))
        await asyncio.sleep(0.1)
        elsewhere.let_go()
        return (await waiting).state.result()

    assert asyncio.run(program(elsewhere.begin())) == str(tmp_path / "gate")


def test_a_log_is_read_followed_and_shown(elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = elsewhere.begin()
    followed = flow_run_logs(run_id, follow=True)
    assert next(followed).message.startswith("Beginning flow run")
    first = next(followed)
    assert (first.message, first.level, first.name) == ("waits", logging.INFO, "taskyard.task_runs")
    assert [record.message for record in flow_run_logs(run_id)][1:] == ["waits"]
    elsewhere.let_go()
    assert "goes on" in [record.message for record in followed]
    ended = read_task_run(first.run_id)
    assert (ended.name, ended.flow_run_id, ended.tags) == (first.run_name, run_id, ["nightly"])
    assert [record.message for record in task_run_logs(first.run_id)] == ["waits", "goes on"]
    capsys.readouterr()
    wait_for_flow_run(run_id, watch_logs=True)
    assert f"'{first.run_name}' - goes on" in capsys.readouterr().err


def test_a_failed_run_is_no_error_of_the_waiting(plane: Plane) -> None:
    run_id = fails.delay().task_run_id
    state = asyncio.run(await_task_run(run_id, timeout=30)).state
    assert state.is_failed()
    with pytest.raises(LookupError, match="nothing there"):
        state.result()


def test_who_waits_in_a_worker_lets_others_have_its_place(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "later").touch()
    first = gated.delay(str(tmp_path / "first"))
    later = gated.apply_async((str(tmp_path / "later"),), wait_for=[first])
    waiting = [waits_for.delay(str(later.task_run_id)) for _ in range(3)]
    (tmp_path / "first").touch()  # the slot of it goes to one that waits, because these came before
    assert [future.result(timeout=30) for future in waiting] == [str(tmp_path / "later")] * 3


@pytest.mark.parametrize("call", [read_flow_run, wait_for_flow_run, lambda run: list(flow_run_logs(run))])
def test_what_does_not_exist_is_said(plane: Plane, call: Callable[[Any], Any]) -> None:
    with pytest.raises(RunNotFound):
        call(uuid4())
    with pytest.raises(ValueError, match="'elsewhere' is no id of a run"):
        call("elsewhere")


def test_a_task_run_is_no_flow_run(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    future = gated.delay(str(tmp_path / "gate"))
    with pytest.raises(RunNotFound, match=f"flow run {future.task_run_id} does not exist: it is a task run"):
        wait_for_flow_run(future.task_run_id)
    future.result()


def test_nobody_waits_for_the_run_they_belong_to(plane: Plane) -> None:
    @flow
    def impatient() -> None:
        wait_for_flow_run(runtime.flow_run.id)

    with pytest.raises(ValueError, match="would wait for itself"):
        impatient()


def test_who_waits_does_not_notice_a_restart_of_the_server(tmp_path: Path, monkeypatch: Any) -> None:
    with plane_and_agent(tmp_path) as plane:
        monkeypatch.setenv("TASKYARD_SERVER", plane.address)
        try:
            run_id = gated.delay(str(tmp_path / "gate")).task_run_id
            ended: list[Any] = []
            waiting = threading.Thread(target=lambda: ended.append(wait_for_task_run(run_id)))
            waiting.start()
            plane.restart()
            (tmp_path / "gate").touch()
            waiting.join(30)
            assert ended[0].state.result() == str(tmp_path / "gate")
        finally:
            end_sessions()
