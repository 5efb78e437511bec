"""Hooks on_rollback that are kept, should the process of their flow run be lost: D9."""

import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, task
from taskyard._engine.rollbacks import registered
from taskyard._network.server.calls import Client
from taskyard.runtime import flow_run
from taskyard.task_runners import AgentTaskRunner, ProcessPoolTaskRunner, ThreadPoolTaskRunner
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


@pytest.mark.parametrize("runner", [*RUNNERS, ProcessPoolTaskRunner(max_workers=1)], ids=repr)
def test_d9_hooks_wait_where_others_than_the_lost_program_serve(
    plane: Plane, before: set[bytes], runner: Any
) -> None:
    @flow(task_runner=runner)
    def body() -> None:
        with transaction():
            work()
            queues = {run.queue for run in kept(plane, before)}
            assert queues == {"default"}

    body()


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


@task
def opens_another() -> None:
    pass


@opens_another.on_commit
def do_more(txn: BaseTransaction) -> None:
    with transaction():
        work()


def test_d9_what_a_commit_hook_has_committed_is_not_undone(
    in_flow: Any, plane: Plane, before: set[bytes]
) -> None:
    def body() -> None:
        with transaction():
            opens_another()
        heads = [run for run in kept(plane, before) if ":" not in run.name]
        states = [int(run.state) for run in heads]
        assert states == [RunState.CANCELLED], "a failure from now on is no business of it"

    in_flow(body)
    assert NOTED == []


@pytest.mark.parametrize("fails", [False, True])
def test_d9_what_agents_roll_back_neither_commits_nor_is_undone_here(
    in_flow: Any, plane: Plane, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    seen: list[bool] = []

    def body() -> None:
        with transaction() as txn:
            work.with_options(on_commit=[lambda _: NOTED.append("commit")])()
            with transaction():
                work()
                monkeypatch.setattr(registered.Registered, "_has_begun", lambda *_: True)
                if fails:
                    with suppress(ValueError):
                        boom()
        seen.append(txn.is_rolled_back())

    in_flow(body)
    assert (NOTED, seen) == ([], [True])


class _Stuck:
    """What can be copied and cannot travel."""

    def __deepcopy__(self, memo: Any) -> "_Stuck":
        return self

    def __reduce__(self) -> Any:
        raise TypeError("it stays here")


def test_d9_a_value_that_cannot_travel_is_not_waited_for(plane: Plane, before: set[bytes]) -> None:
    took: list[float] = []

    @flow(name="stuck")
    def body() -> None:
        with transaction() as txn:
            txn.set("value", _Stuck())
            work()
            begun = time.monotonic()
            txn.set("other", 1)
            took.append(time.monotonic() - begun)
            txn.set("value", 2)
            assert len(kept(plane, before)) == 2, "from now on it can be kept"

    body()
    assert took[0] < registered.ARRIVAL_SECONDS / 2


class _Large:
    """Knows how often it was pickled."""

    pickled = 0

    def __deepcopy__(self, memo: Any) -> "_Large":
        return self

    def __reduce__(self) -> Any:
        type(self).pickled += 1
        return bytes, (bytes(300_000),)


def test_d9_large_values_are_stored_once_for_all_hooks(plane: Plane, before: set[bytes]) -> None:
    @flow
    def body() -> None:
        with transaction() as txn:
            txn.set("table", _Large())
            works = [work.submit() for _ in range(2)]
            for each in works:
                each.wait()
            _Large.pickled = 0
            txn.set("other", 1)
            assert len(kept(plane, before)) == 6

    body()
    assert _Large.pickled <= 4, "one look at it for the head, and one for all hooks"


def test_d9_a_hook_with_a_future_in_it_stays_here(plane: Plane, capfd: pytest.CaptureFixture[str]) -> None:
    @flow
    def body() -> None:
        future = plain.submit()
        with transaction() as txn:
            txn.stage(None, on_rollback_hooks=[partial(_note_end, future)])
            txn.rollback()

    body()
    assert NOTED == ["None"]
    said = capfd.readouterr().err
    assert "cannot travel to an agent: a future is in it" in said
    assert "'rollback of" in said
    assert "_note_end'" in said, "not what the hook was made with"


def _note_end(future: Any, txn: BaseTransaction) -> None:
    NOTED.append(str(future.result()))
