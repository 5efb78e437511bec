"""Hooks on_rollback that are kept, should the process of their flow run be lost: D9."""

import threading
from typing import Any
from uuid import UUID

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, task
from taskyard._engine.rollbacks import registered
from taskyard._network.server.calls import Client
from taskyard.runtime import flow_run
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner
from taskyard.transactions import BaseTransaction, transaction
from taskyard_api.v1 import run_service_pb2
from taskyard_contract.states import FIRST_FINAL, RunState

NOTED: list[str] = []
RUNNERS = [AgentTaskRunner(), ThreadPoolTaskRunner()]


@pytest.fixture(autouse=True)
def nothing_noted(plane: Plane) -> None:
    NOTED.clear()


@pytest.fixture(params=RUNNERS, ids=["agents", "threads"])
def in_flow(request: pytest.FixtureRequest) -> Any:
    """Runs a function as the body of a flow, with each task runner."""
    return lambda body: flow(name="kept", task_runner=request.param)(body)()


@task
def work() -> None:
    pass


@work.on_rollback
def undo(txn: BaseTransaction) -> None:
    NOTED.append("undo")


@task
def plain() -> None:
    pass


@task
def boom() -> None:
    raise ValueError("boom")


def runs(plane: Plane, **wanted: Any) -> list[run_service_pb2.Run]:
    client = Client(plane.address)
    try:
        request = run_service_pb2.ListRunsRequest(filter=run_service_pb2.RunFilter(**wanted), page_size=100)
        return list(client.list_runs(request).runs)
    finally:
        client.close()


def kept(plane: Plane, before: set[bytes]) -> list[run_service_pb2.Run]:
    """Return the runs of hooks that were not there before."""
    return [run for run in runs(plane) if run.name.startswith("rollback of") and run.run_id not in before]


@pytest.fixture
def before(plane: Plane) -> set[bytes]:
    return {run.run_id for run in runs(plane)}


@pytest.mark.parametrize("fails", [False, True])
def test_d9_a_flow_that_ends_by_itself_leaves_nothing_to_be_undone(
    in_flow: Any, plane: Plane, before: set[bytes], fails: bool
) -> None:
    def body() -> str:
        with transaction():
            work()
            work()
            if fails:
                boom()
        return str(flow_run.id)

    if fails:
        with pytest.raises(ValueError, match="boom"):
            in_flow(body)
    else:
        flow_run_id = in_flow(body)
        inside = runs(plane, flow_run_id=UUID(flow_run_id).bytes)
        assert [run.name for run in inside] == ["work-1", "work-0"], "they are no runs of the flow"
    assert len(NOTED) == 2 * fails
    states = [int(run.state) for run in kept(plane, before)]
    assert len(states) == 3
    assert set(states) <= {RunState.CANCELLED, RunState.NOT_READY}


def test_d9_a_task_without_such_hooks_costs_nothing(
    in_flow: Any, plane: Plane, before: set[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("nothing is to be kept")

    def body() -> None:
        with transaction() as txn:
            plain()
            txn.set("value", 1)
            plain.submit().wait()

    monkeypatch.setattr(registered, "keeping", fail)
    in_flow(body)
    assert kept(plane, before) == []


def test_d9_what_cannot_travel_is_said_once_and_undone_here(
    plane: Plane, before: set[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    lock = threading.Lock()

    def undo_here(txn: BaseTransaction) -> None:
        with lock:
            NOTED.append("here")

    hooked = plain.with_options(on_rollback=[undo_here])

    @flow
    def body() -> None:
        with transaction() as txn:
            hooked()
            hooked()
            txn.rollback()

    body()
    assert NOTED == ["here", "here"]
    assert capfd.readouterr().err.count("if this program is killed, nobody calls a hook on_rollback") == 1
    assert [int(run.state) for run in kept(plane, before)] == [RunState.CANCELLED], "the head alone"


def test_d9_an_older_server_keeps_nothing_and_that_is_said_once(
    plane: Plane, before: set[bytes], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from taskyard._network.session.session import Session

    @flow
    def body() -> None:
        with transaction() as txn:
            work()
            txn.rollback()

    monkeypatch.setattr(Session, "capabilities", frozenset())
    monkeypatch.setattr(registered, "_said_old", set())
    body()
    body()
    assert NOTED == ["undo", "undo"]
    assert kept(plane, before) == []
    assert capfd.readouterr().err.count("of a release that does not keep hooks on_rollback") == 1


def test_d9_a_value_that_is_set_later_replaces_what_was_kept(plane: Plane, before: set[bytes]) -> None:
    seen: list[tuple[int, int]] = []

    @flow
    def body() -> None:
        with transaction() as txn:
            work()
            txn.set("value", 1)
            found = [int(run.state) for run in kept(plane, before)]
            seen.append((len(found), sum(state < FIRST_FINAL for state in found)))

    body()
    assert seen == [(4, 2)], "a head and a hook of each, and the former ones are taken back"
