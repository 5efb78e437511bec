"""Tasks that this process serves: durable in the control plane, executed in threads and in a loop of its own.

No agent serves their queue, so whatever is executed here was executed by whoever serves.
"""

import asyncio
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support import background
from support.background import double
from support.plane_and_agent import Plane

from taskyard import flow, remote_task, task
from taskyard._network.session.sessions import current_session
from taskyard.cache_policies import DEFAULT, INPUTS
from taskyard.exceptions import TaskRunTimeoutError
from taskyard.task_runs import read_task_run, task_run_logs
from taskyard.task_worker import TaskWorker, aserve, serve

SECONDS = 30.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)
    return found


@contextmanager
def serving(*tasks: Any, limit: int | None = 10) -> Iterator[TaskWorker]:
    """Serve tasks in another thread meanwhile."""
    worker = TaskWorker(*tasks, limit=limit)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            worker.start()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: worker.started or failures, "it serves")
    try:
        yield worker
    finally:
        if worker.started:
            worker.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()
        assert not failures


def test_row_49_runs_are_executed_by_the_program_that_serves(plane: Plane) -> None:
    with serving(background.where, double):
        process, thread = background.where.delay().result(timeout=SECONDS)
        assert (process, thread) == (os.getpid(), "taskyard-run")
        assert double.delay(21).result(timeout=SECONDS) == 42


def test_row_47_apply_async_waits_for_others_and_gets_their_results(plane: Plane) -> None:
    with serving(double):
        first = double.apply_async((1,))
        second = double.apply_async(kwargs={"number": first}, wait_for=[first])
        assert second.result(timeout=SECONDS) == 4


def test_row_48_map_deferred_goes_there_too(plane: Plane) -> None:
    with serving(double):
        assert double.map(range(5), deferred=True).result(timeout=SECONDS) == [0, 2, 4, 6, 8]


def test_b17_unmatched_work_waits_visibly_and_is_found_by_a_program_that_comes_later(plane: Plane) -> None:
    future = double.delay(4)
    with serving(background.where):  # of the same queue: it serves another task
        waits = eventually(lambda: _waits_for(future.task_run_id, "serves '"), "it says what it waits for")
        assert "no program serves 'support.background:double'" in waits
        assert not future.state.is_final()
    with serving(double):
        assert future.result(timeout=SECONDS) == 8


def _waits_for(run_id: UUID, part: str) -> str:
    explained = current_session().client().explain(run_id.bytes)
    said = " ".join(wait.message for wait in explained.waits) if explained is not None else ""
    return said if part in said else ""


def test_ordinary_agents_execute_what_is_in_their_queues(plane: Plane) -> None:
    assert background.anywhere.delay().result(timeout=SECONDS) != os.getpid()


def test_a_program_that_serves_executes_only_deferred_runs(plane: Plane) -> None:
    @flow
    def main() -> int:
        return background.anywhere()

    with serving(background.anywhere):
        assert main() != os.getpid()


def test_retries_are_those_of_the_task(plane: Plane, tmp_path: Path) -> None:
    with serving(background.third_time):
        assert background.third_time.delay(str(tmp_path)).result(timeout=SECONDS) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempt-1", "attempt-2", "attempt-3"]


def test_exceptions_arrive(plane: Plane) -> None:
    with serving(background.fails), pytest.raises(KeyError, match="no such thing"):
        background.fails.delay().result(timeout=SECONDS)


def test_row_49_the_limit_counts_all_tasks_together(plane: Plane, tmp_path: Path) -> None:
    begun = lambda: {path.name.partition(".")[0] for path in tmp_path.glob("[ab]*")}  # noqa: E731
    with serving(background.at_gate, double, limit=2) as worker:
        runs = [background.at_gate.delay(name, str(tmp_path)) for name in ("a1", "a2", "a3")]
        last = double.delay(1)
        eventually(lambda: len(begun()) == 2, "two have begun")
        assert (worker.current_tasks, worker.available_tasks) == (2, 0)
        assert len(begun()) == 2
        assert not last.state.is_final()
        (tmp_path / "gate").touch()
        assert [run.result(timeout=SECONDS) for run in runs] == [os.getpid()] * 3
        assert last.result(timeout=SECONDS) == 2
        eventually(lambda: worker.current_tasks == 0, "all are reported")
        assert sum(worker.finished_task_runs.values()) == 4


def test_row_49_without_a_limit_more_than_ten_go_on_together(plane: Plane, tmp_path: Path) -> None:
    with serving(background.at_gate, limit=None):
        runs = [background.at_gate.delay(f"a{number}", str(tmp_path)) for number in range(15)]
        eventually(lambda: len(list(tmp_path.glob("a*"))) == 15, "all have begun")
        (tmp_path / "gate").touch()
        for run in runs:
            run.result(timeout=SECONDS)


def test_coroutines_share_the_loop_of_whoever_serves(plane: Plane) -> None:
    background.here.clear()

    async def main() -> tuple[set[int], int]:
        working = asyncio.create_task(aserve(background.meets))
        runs = await asyncio.to_thread(lambda: [background.meets.delay(5) for _ in range(5)])
        found = {await asyncio.to_thread(run.result, timeout=SECONDS) for run in runs}
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        return found, id(asyncio.get_running_loop())

    found, own = asyncio.run(main())
    assert found == {own}


@pytest.mark.parametrize("slow", [background.too_slow, background.too_slow_in_loop], ids=["thread", "loop"])
def test_timeouts_end_what_takes_too_long(plane: Plane, slow: Any) -> None:
    with serving(slow):
        future = slow.delay()
        with pytest.raises(TaskRunTimeoutError, match=r"exceeded its timeout of 0\.2 seconds"):
            future.result(timeout=SECONDS)
        assert future.state.name == "TimedOut"


def test_calls_of_other_tasks_are_executed_here_as_well(plane: Plane) -> None:
    with serving(background.calls_others, background.calls_others_in_loop, limit=1):
        here = os.getpid()
        assert background.calls_others.delay(1).result(timeout=SECONDS) == [(2, here), (3, here)]
        assert background.calls_others_in_loop.delay(1).result(timeout=SECONDS) == (2, here)


def test_large_values_go_there_and_back(plane: Plane) -> None:
    with serving(background.copy_of):
        data = os.urandom(3_000_000)
        first = background.copy_of.delay(data)
        assert background.copy_of.delay(first).result(timeout=SECONDS) == data


def test_what_is_logged_and_printed_is_recorded(plane: Plane) -> None:
    with serving(background.speaks):
        future = background.speaks.delay()
        future.wait(timeout=SECONDS)
        said = [line.message for line in task_run_logs(future.task_run_id, follow=True)]
    assert [line for line in said if "said" in line or "printed" in line] == ["said by the logger", "printed"]


def test_a_run_that_is_cancelled_ends(plane: Plane, tmp_path: Path) -> None:
    with serving(background.at_gate) as worker:
        future = background.at_gate.delay("a", str(tmp_path))
        eventually(lambda: list(tmp_path.glob("a.*")), "it has begun")
        future.cancel()
        eventually(lambda: future.state.is_cancelled(), "it is cancelled")
        eventually(lambda: worker.current_tasks == 0, "nothing executes")


def test_what_is_served_can_be_called_by_its_name(plane: Plane) -> None:
    named = remote_task("double", queue="background", result=int)
    with serving(double):
        assert named.delay("4").result(timeout=SECONDS) == 8


def test_a_local_function_is_told_apart_by_its_code(plane: Plane) -> None:
    def made(by: int) -> Any:
        @task(queue="background", name="times")
        def times(number: int) -> int:
            return number * by

        return times

    twice, thrice = made(2), made(3)
    with serving(thrice), serving(twice):
        runs = [each.delay(5) for each in (twice, thrice)]
        assert [run.result(timeout=SECONDS) for run in runs] == [10, 15]


def test_b17_results_are_kept_and_the_policy_is_default_when_there_is_none(plane: Plane) -> None:
    cached = background.double.with_options(cache_policy=INPUTS)
    worker = TaskWorker(background.not_kept, double, cached)
    assert [each.persist_result for each in worker.tasks] == [True, True, True]
    assert [each.cache_policy for each in worker.tasks] == [DEFAULT, DEFAULT, INPUTS]
    with serving(background.not_kept):
        future = background.not_kept.delay()
        assert future.result(timeout=SECONDS) == 7
    assert read_task_run(future.task_run_id).state.result() == 7


def test_a_policy_of_the_task_counts(plane: Plane) -> None:
    calls: list[int] = []

    @task(queue="background", cache_policy=INPUTS, name=f"cached-{os.getpid()}")
    def counted(number: int) -> int:
        calls.append(number)
        return number

    with serving(counted):
        assert [counted.delay(3).result(timeout=SECONDS) for _ in range(2)] == [3, 3]
    assert calls == [3]


def test_row_49_it_says_how_it_is_over_http(plane: Plane) -> None:
    from taskyard._engine.task_worker.status import status_server

    with serving(double) as worker, status_server(worker.status, 0) as port:
        double.delay(1).result(timeout=SECONDS)
        eventually(lambda: worker.status()["finished"] == {double.task_key: 1}, "it is counted")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=SECONDS) as answer:
            said = json.load(answer)
    assert (said["limit"], said["current"], said["available"], said["stopping"]) == (10, 0, 10, False)
    assert (said["tasks"], said["finished"]) == ([double.task_key], {double.task_key: 1})
    assert said["client_id"].endswith(str(os.getpid()))


def test_serving_ends_after_a_time(plane: Plane) -> None:
    assert serve(double, timeout=0.1, status_server_port=0) is None


def test_serving_goes_on_after_the_control_plane_was_killed(plane: Plane) -> None:
    with serving(double):
        assert double.delay(1).result(timeout=SECONDS) == 2
        plane.restart()
        assert double.delay(2).result(timeout=SECONDS) == 4


def test_an_operator_has_it_leave(plane: Plane) -> None:
    with serving(double) as worker:
        double.delay(1).result(timeout=SECONDS)
        client = current_session().client()
        name = f"{socket.gethostname()}/task-worker-{os.getpid()}"
        agents = [agent for agent in client.agents() if agent.agent_id.startswith(name)]
        client.drain_agent(max(agents, key=lambda agent: agent.connected_us).agent_id)
        eventually(lambda: not worker.started, "it no longer serves")


def test_in_a_running_loop_serve_returns_what_has_to_be_awaited(plane: Plane) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"use 'await astart\(\.\.\.\)'"):
            TaskWorker(double).start()
        await serve(double, timeout=0.05)  # type: ignore[misc]

    asyncio.run(main())
