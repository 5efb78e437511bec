"""Task runners against a real control plane: who executes runs, in which order, and when that ends."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.processes import is_alive

from taskyard import flow, get_run_logger, task, unmapped
from taskyard._engine.flow_runs import task_runner
from taskyard._engine.own_agent import sharing
from taskyard.context import FlowRunContext
from taskyard.exceptions import TaskyardError
from taskyard.futures import Future
from taskyard.settings import home
from taskyard.task_runners import (
    AgentTaskRunner,
    ConcurrentTaskRunner,
    ProcessPoolTaskRunner,
    SequentialTaskRunner,
    TaskRunner,
    TaskyardTaskRunner,
    ThreadPoolTaskRunner,
)

pytestmark = pytest.mark.usefixtures("plane")

ALL = [
    AgentTaskRunner(),
    ThreadPoolTaskRunner(max_workers=2),
    SequentialTaskRunner(),
    ProcessPoolTaskRunner(max_workers=2),
]
each_runner = pytest.mark.parametrize("runner", ALL, ids=lambda runner: runner.name)


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def boom() -> None:
    raise ValueError("boom")


@task
def process() -> int:
    return os.getpid()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@each_runner
def test_row_62_a_flow_says_the_same_with_each_task_runner(runner: TaskRunner) -> None:
    @task
    async def asynchronous(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @task
    def calls_another(x: int) -> int:
        return add(x)

    @task
    def gives() -> Any:
        yield 1
        yield 2

    @flow(task_runner=runner)
    def main() -> Any:
        first = add.submit(1)
        assert add.submit(first, wait_for=[first]).result() == 3
        assert add.map([1, 2, 3], unmapped(first)).result() == [3, 4, 5]
        bad = boom.submit()
        refused = add.submit(bad).wait()
        assert refused is not None
        assert asynchronous.submit(4).result() == 4
        assert (calls_another.submit(5).result(), calls_another(5)) == (6, 6)
        assert gives.submit().result() == [1, 2]
        return add(6), bad.state.name, refused.name, add.submit(1, return_state=True).result()

    assert main() == (7, "Failed", "NotReady", 2)


def test_row_62_the_sequential_runner_resolves_on_submission() -> None:
    executed: list[Any] = [threading.Lock()]

    @task
    def note(x: int, executed: list[Any]) -> int:
        executed.append((x, threading.get_ident()))
        return x

    @flow(task_runner=SequentialTaskRunner)
    def main() -> Any:
        here = threading.get_ident()
        for x in range(3):
            assert note.submit(x, executed).done()
            assert executed[-1] == (x, here)
        futures = note.map([3, 4, 5], unmapped(executed))
        assert all(future.done() for future in futures)
        assert boom.submit().done()
        return [x for x, _ in executed[1:]]

    assert main() == [0, 1, 2, 3, 4, 5]


def test_document_of_task_runners_greets_one_after_the_other() -> None:
    said: list[Any] = [threading.Lock()]

    @task
    def say(word: str, name: str, said: list[Any]) -> None:
        said.append(f"{word} {name}")

    @flow(task_runner=SequentialTaskRunner(), task_calls="future")
    def greetings(names: list[str]) -> None:
        for name in names:
            say("hello", name, said)
            say("goodbye", name, said)

    greetings(["arthur", "ford"])
    assert said[1:] == ["hello arthur", "goodbye arthur", "hello ford", "goodbye ford"]


def test_row_62_processes_are_started_for_a_flow_run_and_end_with_it() -> None:
    @flow
    def inner() -> set[int]:
        return {process.submit().result() for _ in range(2)}

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def main() -> Any:
        ((key, used),) = sharing._used.items()
        seen = {process.submit().result() for _ in range(3)} | inner() | {process()}
        picky = process.with_options(agent_labels={"gpu": "nowhere"}, queue="elsewhere")
        return key[1:], used, seen | {picky.submit().result()}

    size, used, seen = main()
    assert size == (1, 0)
    assert len(seen) == 1, "one worker executes them all, the inner flow's too"
    assert os.getpid() not in seen
    assert sharing._used == {}
    assert used.agent._process.returncode == 0, "it has ended in order"
    worker = seen.pop()
    wait_until(lambda: not is_alive(worker))
    assert not list((home() / "agents").glob("processes-*"))


def test_processes_that_end_before_the_flow_fail_it_with_what_they_said() -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def main() -> None:
        assert add.submit(1).result() == 2
        (used,) = sharing._used.values()
        os.kill(used.agent.pid or 0, signal.SIGKILL)
        add.submit(1).result()

    with pytest.raises(TaskyardError, match="1 worker of ProcessPoolTaskRunner ended with exit code -9"):
        main()
    assert sharing._used == {}


@each_runner
def test_b11_5_a_runner_takes_runs_by_itself_and_waits_for_them(runner: TaskRunner, tmp_path: Path) -> None:
    path = str(tmp_path / "late")

    @task
    def late() -> None:
        time.sleep(0.2)
        Path(path).touch()

    with runner as started:
        assert started is runner
        assert runner.submit(add, {"x": 1, "y": 2}).result() == 3
        assert runner.map(add, {"x": [1, 2], "y": unmapped(5)}).result() == [6, 7]
        first = runner.submit(add, {"x": 1})
        assert runner.submit(add, parameters={"x": first}, wait_for=[first]).result() == 3
        waited = runner.submit(late, {})
    assert waited.done()
    assert Path(path).exists()
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        runner.submit(add, {"x": 1})


def test_b11_5_a_runner_that_is_left_with_an_exception_ends_what_has_not_begun() -> None:
    begun, go = threading.Event(), threading.Event()
    futures: list[Future[Any]] = []

    @task
    def wait_for(begun: threading.Event, go: threading.Event) -> None:
        begun.set()
        assert go.wait(30)

    def use() -> None:
        with ThreadPoolTaskRunner(max_workers=1) as runner:
            futures.append(runner.submit(wait_for, {"begun": begun, "go": go}))
            assert begun.wait(30)
            futures.append(runner.submit(wait_for, {"begun": begun, "go": go}))
            futures[1].add_done_callback(lambda future: go.set())
            raise OSError("left")

    with pytest.raises(OSError, match="left"):
        use()
    assert [future.state.name for future in futures] == ["Completed", "Cancelled"]


def test_a_runner_inside_of_a_flow_belongs_to_the_flow_run() -> None:
    @flow
    def main() -> Any:
        with ThreadPoolTaskRunner(max_workers=1) as runner:
            here = runner.submit(process, {}).result()
        return here == os.getpid(), process.submit().result() == os.getpid()

    assert main() == (True, False)


@each_runner
def test_row_62_each_flow_run_has_a_started_duplicate(runner: TaskRunner) -> None:
    @flow(task_runner=runner)
    def main() -> Any:
        context = FlowRunContext.get()
        assert context is not None
        own = context.task_runner
        with pytest.raises(RuntimeError, match="already started"):
            own.__enter__()
        with pytest.raises(RuntimeError, match="Task runner is not started"):
            runner.submit(add, {"x": 1})
        return own == runner and own is not runner, own.submit(add, {"x": 1}).result(), own

    same, value, own = main()
    assert (same, value) == (True, 2)
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        own.submit(add, {"x": 1})


def test_a_runner_of_ones_own_is_asked_for_each_submission() -> None:
    asked: list[Any] = []

    class Counting(ThreadPoolTaskRunner):
        def submit(
            self, task: Any, parameters: Any, wait_for: Any = None, dependencies: Any = None
        ) -> Future[Any]:
            asked.append((task.name, dict(parameters)))
            return super().submit(task, parameters, wait_for, dependencies)

    @flow(task_runner=Counting(max_workers=2), task_calls="future", final_state="returned")
    def main() -> Any:
        get_run_logger().info("calls")
        first = add.submit(1)
        called: Any = add(2, y=3)
        mapped = add.map([1, 2])
        return first.result(), called.result(), mapped.result()

    assert main() == (2, 5, [2, 3])
    assert asked == [("add", {"x": 1}), ("add", {"x": 2, "y": 3})]


def test_rows_6_and_7_the_numbers_of_runs_are_dynamic_keys() -> None:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def main() -> Any:
        from taskyard.runtime import task_run

        @task(name="add one")
        def number() -> Any:
            return task_run.name, task_run.dynamic_key

        keys = [number.dynamic_key]
        first = number()
        keys += [number.dynamic_key, number.get_and_update_dynamic_key(), number.dynamic_key]
        return keys, first, number.submit().result()

    assert main() == (["0", "1", "1", "2"], ("add one-0", "0"), ("add one-2", "2"))


def test_names_of_prefect_2_and_3_are_these_runners() -> None:
    assert ConcurrentTaskRunner is ThreadPoolTaskRunner
    assert TaskyardTaskRunner is AgentTaskRunner


@pytest.mark.parametrize(
    "runner", [SequentialTaskRunner(), ThreadPoolTaskRunner(max_workers=1)], ids=["sequential", "one"]
)
@pytest.mark.parametrize("how", ["call", "submit", "map"])
def test_mapped_runs_that_call_tasks_do_not_take_the_room_of_these(runner: TaskRunner, how: str) -> None:
    @task
    def inner(x: int) -> int:
        return x

    @task
    def outer(x: int) -> int:
        if how == "map":
            return sum(inner.map([x]).result())
        return inner(x) if how == "call" else inner.submit(x).result()

    @flow(task_runner=runner)
    def body() -> int:
        return sum(outer.map(range(12)).result())

    assert body() == sum(range(12))


@pytest.mark.parametrize("during_wait", [False, True])
def test_a_runner_that_is_interrupted_ends_what_it_has_begun(
    during_wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    @task
    def endless() -> None:
        begun.set()
        while True:
            time.sleep(0.01)

    futures = []

    def use() -> None:
        with ThreadPoolTaskRunner() as runner:
            futures.append(runner.submit(endless, {}))
            assert begun.wait(30)
            if not during_wait:
                raise KeyboardInterrupt
            wait = task_runner.wait_for_all_inside

            def interrupted(place: Any) -> None:
                monkeypatch.setattr(task_runner, "wait_for_all_inside", wait)
                raise KeyboardInterrupt

            monkeypatch.setattr(task_runner, "wait_for_all_inside", interrupted)

    with pytest.raises(KeyboardInterrupt):
        use()
    futures[0].wait(30)
    assert futures[0].state.is_cancelled()
