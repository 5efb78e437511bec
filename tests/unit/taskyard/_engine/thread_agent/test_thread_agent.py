"""Runs in threads of the flow's own process: each is executed once, reported once, and ends."""

import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard import task
from taskyard._engine.execution.interrupts import ThreadInterrupter
from taskyard._engine.thread_agent import agent, kept
from taskyard._engine.thread_agent.attempts import ThreadAttempt
from taskyard._network.server.loop_thread import loop_thread
from taskyard.exceptions import ConnectionFailed, FlowCancelled, FlowTimedOut, RunCancelled
from taskyard.futures import Future
from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import template_pb2
from taskyard_contract.errors import Superseded, TaskyardError
from taskyard_contract.id_factory import new_id


def eventually(condition: Callable[[], object]) -> None:
    """Wait for something that happens on another thread."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, session: LoopbackSession) -> Iterator[Any]:
    async def nothing(self: Any) -> None: ...

    monkeypatch.setattr(agent.ThreadAgent, "_start", nothing)
    made = agent.ThreadAgent(session, 1)
    made.reported = []  # type: ignore[attr-defined]
    made._link.report = lambda epoch, run_id, columns: made.reported.append((epoch, run_id))  # type: ignore[attr-defined, method-assign]
    yield made
    made.threads.close(wait=True)


def _assign(runs: Any, epoch: int, run_ids: list[bytes]) -> None:
    body = ap.ChunkBody(args=[b""] * len(run_ids), ordinals=range(len(run_ids))).SerializeToString()
    chunk = ap.AssignChunk(first_epoch=epoch, template=1, run_ids=b"".join(run_ids), body=body)

    async def give() -> None:
        runs.on_assign(chunk, template_pb2.TemplateDefinition(template=template_pb2.RunTemplate(name="t")))

    loop_thread.run(give())


def _keep(runs: Any, function: Any, *args: Any) -> bytes:
    return _kept(runs, function, *args).run_id


def _kept(runs: Any, function: Any, *args: Any, direct: bool = False) -> Future[Any]:
    scope = runs.session.scope()
    future: Future[Any] = Future(new_id(), scope)
    runs.keep(task(function), scope, future, (args, {}), {}, direct)
    return future


def _on_loop(work: Any) -> None:
    async def do() -> None:
        work()

    loop_thread.run(do())


def _drop_all(runs: Any) -> None:
    """What a server does that has given up all of it."""
    _on_loop(lambda: runs.on_drop(list(runs.held())))


def test_thread_runs_go_on_when_the_lease_lapses(runs: Any) -> None:
    release = threading.Event()
    run_id = _keep(runs, lambda: release.wait(30))
    _assign(runs, 1, [run_id])
    _on_loop(runs.on_lease_lost)
    assert [key.epoch for key in runs.held()] == [1]
    release.set()
    eventually(lambda: (1, run_id) in runs.reported)


def test_thread_runs_that_waited_when_they_were_given_up_are_executed_once(runs: Any) -> None:
    release, times = threading.Event(), []
    first = _keep(runs, lambda: release.wait(30))
    second = _keep(runs, lambda: times.append(1))
    _assign(runs, 1, [first, second])
    _drop_all(runs)
    _assign(runs, 11, [second])
    release.set()
    eventually(lambda: (11, second) in runs.reported)
    time.sleep(0.1)
    assert len(times) == 1


def test_an_attempt_that_was_dropped_does_not_take_its_successor_along(runs: Any) -> None:
    releases = [threading.Event(), threading.Event()]
    turn: list[int] = []

    def work() -> None:
        turn.append(1)
        releases[len(turn) - 1].wait(30)

    run_id = _keep(runs, work)
    runs.threads.places = 2
    _assign(runs, 1, [run_id])
    _drop_all(runs)
    _assign(runs, 11, [run_id])
    eventually(lambda: len(turn) == 2)
    releases[0].set()
    time.sleep(0.2)
    held = [key.epoch for key in runs.held()]
    releases[1].set()
    assert held == [11]


def test_a_thread_run_whose_result_cannot_be_uploaded_ends(
    runs: Any, monkeypatch: pytest.MonkeyPatch, session: LoopbackSession
) -> None:
    def upload(ref: Any, pieces: Any) -> Any:
        raise ConnectionFailed("the server is restarting")

    monkeypatch.setattr(session.stored, "upload", upload)
    run_id = _keep(runs, lambda: b"x" * 200_000)
    _assign(runs, 1, [run_id])
    eventually(lambda: runs.reported)
    assert runs.reported == [(1, run_id)]


def test_a_thread_run_whose_result_takes_too_long_to_upload_ends(
    runs: Any, monkeypatch: pytest.MonkeyPatch, session: LoopbackSession
) -> None:
    def upload(ref: Any, pieces: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(session.stored, "upload", upload)
    run_id = _keep(runs, lambda: b"x" * 200_000)
    _assign(runs, 1, [run_id])
    eventually(lambda: runs.reported)
    assert runs.reported == [(1, run_id)]


def test_a_thread_run_that_was_cancelled_before_its_thread_began_is_not_executed(runs: Any) -> None:
    times: list[int] = []
    run_id = _keep(runs, lambda: times.append(1))
    attempt = ThreadAttempt(
        runs,
        runs._kept[run_id],
        ap.RunKey(run_id=run_id, epoch=1),
        template_pb2.RunTemplate(name="t"),
        ap.ChunkBody(),
        0,
        None,
    )
    attempt.cancel()
    attempt.execute()
    assert times == []


def test_a_thread_run_whose_arguments_cannot_be_put_together_ends(
    runs: Any, session: LoopbackSession
) -> None:
    upstream: Future[Any] = Future(new_id(), session.scope())
    upstream.keep_local([1])
    upstream.settle(b"")
    run_id = _keep(runs, len, {upstream})
    _assign(runs, 1, [run_id])
    eventually(lambda: runs.reported)
    assert runs.reported == [(1, run_id)]


@pytest.mark.parametrize("error", [Superseded("by another one"), RuntimeError("no threads any more")])
def test_nobody_waits_for_an_agent_that_cannot_go_on(runs: Any, error: Exception) -> None:
    class Broken:
        async def run(self) -> None:
            raise error

    future: Future[int] = Future(new_id(), runs.session.scope())
    runs.session.watch(future)
    loop_thread.run(runs._run(Broken()))
    with pytest.raises(TaskyardError, match=str(error)):
        future.result(0)


@pytest.mark.parametrize("when", ["in the task", "between"])
def test_what_ends_the_caller_of_a_direct_run_is_raised_and_the_run_is_reported(
    runs: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def ends(*_: object) -> None:
        raise FlowCancelled

    future = _kept(runs, ends if when == "in the task" else lambda: 1, direct=True)
    if when == "between":
        monkeypatch.setattr(ThreadAttempt, "_report_of", ends)
    _assign(runs, 5, [future.run_id])
    with pytest.raises(FlowCancelled):
        runs.serve(future)
    eventually(lambda: runs.reported == [(5, future.run_id)])
    assert not list(runs.held())


def test_a_direct_run_that_is_assigned_after_its_caller_has_gone_is_reported(
    runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(attempt: ThreadAttempt) -> None:
        raise FlowCancelled

    monkeypatch.setattr(ThreadAttempt, "execute", ends)
    future = _kept(runs, lambda: 1, direct=True)
    _assign(runs, 5, [future.run_id])
    with pytest.raises(FlowCancelled):
        runs.serve(future)
    _assign(runs, 6, [future.run_id])
    eventually(lambda: runs.reported == [(5, future.run_id), (6, future.run_id)])


def test_a_direct_run_whose_attempt_was_lost_between_two_instructions_is_reported(
    runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Torn(SimpleQueue[Any]):
        def get(self, *_: Any) -> Any:
            super().get()
            raise FlowTimedOut  # its caller has it in no variable yet

    monkeypatch.setattr(kept, "SimpleQueue", Torn)
    future = _kept(runs, lambda: 1, direct=True)
    _assign(runs, 5, [future.run_id])
    with pytest.raises(FlowTimedOut):
        runs.serve(future)
    eventually(lambda: runs.reported == [(5, future.run_id)])
    assert not list(runs.held())
    assert runs.demand().window == 2


@pytest.mark.parametrize("assigned", ["before", "after"])
def test_a_direct_run_that_its_caller_never_served_is_reported(runs: Any, assigned: str) -> None:
    future = _kept(runs, lambda: 1, direct=True)
    runs.session.watch(future)
    if assigned == "before":
        _assign(runs, 5, [future.run_id])
    runs.leave_entered(FlowTimedOut())
    if assigned == "after":
        _assign(runs, 5, [future.run_id])
    eventually(lambda: runs.reported == [(5, future.run_id)])
    runs.leave_entered(FlowTimedOut())  # there is nothing any more that it could be said of
    assert not list(runs.held())


def test_a_call_that_was_never_submitted_is_not_kept(runs: Any) -> None:
    future = _kept(runs, lambda: 1, direct=True)
    runs.leave_entered(FlowTimedOut())
    assert runs._future_of(future.run_id) is None


def test_what_is_being_served_is_not_left_by_a_call_inside_of_it(runs: Any) -> None:
    outer = _kept(runs, lambda: runs.leave_entered(FlowTimedOut()), direct=True)
    _assign(runs, 5, [outer.run_id])
    runs.session.watch(outer)
    caller = threading.Thread(target=runs.serve, args=(outer,))
    caller.start()
    eventually(lambda: runs.reported == [(5, outer.run_id)])
    assert runs._future_of(outer.run_id) is outer
    outer.settle(b"")
    caller.join(30)


def test_an_end_of_the_flow_that_a_cancellation_of_the_run_comes_on_top_of_is_not_lost(runs: Any) -> None:
    def both() -> None:
        try:
            raise FlowCancelled
        except FlowCancelled:
            raise RunCancelled  # noqa: B904  # as it is raised from outside, in any place

    future = _kept(runs, both, direct=True)
    _assign(runs, 5, [future.run_id])
    with pytest.raises(FlowCancelled):
        runs.serve(future)


def test_a_run_that_is_cancelled_in_the_moment_it_ends_is_reported(
    runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[bytes] = []
    monkeypatch.setattr(runs._link, "cancelled", lambda key: cancelled.append(key.run_id))
    close = ThreadInterrupter.close

    def close_late(stopper: ThreadInterrupter) -> None:
        if not late.is_set():
            late.set()
            stopper.interrupt(RunCancelled)
        close(stopper)

    late = threading.Event()
    monkeypatch.setattr(ThreadInterrupter, "close", close_late)
    run_id = _keep(runs, lambda: None)
    _assign(runs, 1, [run_id])
    eventually(lambda: cancelled or runs.reported)
